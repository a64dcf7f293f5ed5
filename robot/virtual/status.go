package virtual

import (
	"encoding/json"
	"fmt"
	"sort"
	"time"
)

// fields is a printer object: field name to JSON value.
type fields map[string]json.RawMessage

func text(s string) json.RawMessage {
	encoded, err := json.Marshal(s)
	if err != nil {
		panic("a string does not encode: " + err.Error())
	}
	return encoded
}

func raw(format string, arguments ...any) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(format, arguments...))
}

// seconds writes a duration as JSON seconds with three decimals.
func seconds(d time.Duration) json.RawMessage {
	ms := d.Milliseconds()
	return raw("%d.%03d", ms/1000, ms%1000)
}

// objectNames are the printer objects it has, sorted.
func objectNames() []string {
	names := make([]string, 0, 8)
	for name := range objects(&machine{state: Standby}) {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// objects are all printer objects at the machine's present.
func objects(m *machine) map[string]fields {
	filename, path := text(""), json.RawMessage("null")
	var size, position int64
	if m.state != Standby && m.file != "" {
		filename, path = text(m.file), text("/home/robot/printer_data/gcodes/"+m.file)
		size = m.size
	}
	progress := int64(0) // in millionths
	if m.length > 0 {
		progress = int64(m.printed) / (int64(m.length)/1_000_000 + 1)
	}
	if m.state == Complete {
		progress = 1_000_000
	}
	position = size / 1_000_000 * progress
	return map[string]fields{
		"webhooks": {"state": text("ready"), "state_message": text("Printer is ready")},
		"print_stats": {
			"filename": filename, "state": text(string(m.state)), "message": text(m.message),
			"total_duration": seconds(m.total()), "print_duration": seconds(m.printed),
			"filament_used": seconds(m.printed * 5), "info": raw(`{"total_layer":null,"current_layer":null}`),
		},
		"virtual_sdcard": {
			"file_path": path, "progress": raw("%d.%06d", progress/1_000_000, progress%1_000_000),
			"is_active": raw("%t", m.state == Printing), "file_position": raw("%d", position), "file_size": raw("%d", size),
		},
		"toolhead": {
			"homed_axes": text("xyz"), "print_time": seconds(m.now), "estimated_print_time": seconds(m.now),
			"extruder": text("extruder"), "position": raw("[0.0,0.0,0.0,%d.%03d]", m.printed.Milliseconds()/200, m.printed.Milliseconds()%1000),
			"max_velocity": raw("300.0"), "max_accel": raw("3000.0"), "stalls": raw("0"),
		},
		"pause_resume": {"is_paused": raw("%t", m.state == Paused)},
		"idle_timeout": {"state": text(map[bool]string{true: "Printing", false: "Ready"}[m.busy()]), "printing_time": seconds(m.total())},
	}
}

// wanted is a subscription or query: object name to field names, nil for all.
type wanted map[string][]string

// from keeps what is wanted of all objects.
func (w wanted) from(all map[string]fields) map[string]fields {
	chosen := make(map[string]fields, len(w))
	for name, only := range w {
		object, known := all[name]
		if !known {
			continue
		}
		if only == nil {
			chosen[name] = object
			continue
		}
		part := make(fields, len(only))
		for _, field := range only {
			if content, has := object[field]; has {
				part[field] = content
			}
		}
		chosen[name] = part
	}
	return chosen
}

// changes is what differs in now from before.
func changes(before, now map[string]fields) map[string]fields {
	different := make(map[string]fields)
	for name, object := range now {
		for field, content := range object {
			if string(before[name][field]) == string(content) {
				continue
			}
			if different[name] == nil {
				different[name] = make(fields)
			}
			different[name][field] = content
		}
	}
	return different
}

// milliWattHours is the plug's counter, at its resolution, in thousandths of
// a watt-hour.
func (p *Printer) milliWattHours(m *machine) uint64 {
	const microjoulesPerMilliWattHour = 3_600_000
	return m.counted() / microjoulesPerMilliWattHour / p.config.Step * p.config.Step
}

// thousandths writes n/1000 as a decimal.
func thousandths(n uint64) string { return fmt.Sprintf("%d.%03d", n/1000, n%1000) }

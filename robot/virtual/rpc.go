package virtual

import (
	"encoding/json"
	"errors"
	"net/http"
)

// fault is an error in Moonraker's words: an HTTP status and a message.
type fault struct {
	status  int
	message string
}

func (f *fault) Error() string { return f.message }

// klippyError is a refusal by the printer itself, which Moonraker answers as
// 400.
func klippyError(message string) error {
	return &fault{status: http.StatusBadRequest, message: message}
}

func badRequest(message string) error {
	return &fault{status: http.StatusBadRequest, message: message}
}

// JSON-RPC 2.0 frames as Moonraker sends and takes them.
type (
	rpcRequest struct {
		Version string          `json:"jsonrpc"`
		Method  string          `json:"method"`
		Params  json.RawMessage `json:"params,omitempty"`
		ID      json.RawMessage `json:"id,omitempty"`
	}
	rpcError struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	rpcResponse struct {
		Version string          `json:"jsonrpc"`
		Result  any             `json:"result,omitempty"`
		Error   *rpcError       `json:"error,omitempty"`
		ID      json.RawMessage `json:"id"`
	}
	rpcNotification struct {
		Version string `json:"jsonrpc"`
		Method  string `json:"method"`
		Params  []any  `json:"params,omitempty"`
	}
)

// Error codes of JSON-RPC that Moonraker uses; other faults carry their HTTP
// status.
const (
	codeParse         = -32700
	codeInvalid       = -32600
	codeNoMethod      = -32601
	codeInvalidParams = -32602
)

// answer runs one request of a connection (nil over HTTP). ok is false for a
// notification, which is not answered.
func (p *Printer) answer(l *link, frame []byte) (response rpcResponse, ok bool) {
	response.Version = "2.0"
	response.ID = json.RawMessage("null")
	var request rpcRequest
	if err := json.Unmarshal(frame, &request); err != nil {
		response.Error = &rpcError{Code: codeParse, Message: "Parse error"}
		return response, true
	}
	if request.ID != nil {
		response.ID = request.ID
	}
	if request.Version != "2.0" || request.Method == "" {
		response.Error = &rpcError{Code: codeInvalid, Message: "Invalid Request"}
		return response, true
	}
	result, err := p.call(l, request.Method, request.Params)
	if err != nil {
		response.Error = rpcFault(err)
	} else {
		response.Result = result
	}
	return response, request.ID != nil
}

func rpcFault(err error) *rpcError {
	var f *fault
	if !errors.As(err, &f) {
		return &rpcError{Code: -31000, Message: err.Error()}
	}
	switch f.status {
	case http.StatusNotFound:
		return &rpcError{Code: codeNoMethod, Message: f.message}
	case http.StatusUnauthorized:
		return &rpcError{Code: codeInvalidParams, Message: f.message}
	}
	return &rpcError{Code: f.status, Message: f.message}
}

// call runs a method. Those that need a connection refuse l == nil.
func (p *Printer) call(l *link, method string, params json.RawMessage) (any, error) {
	if l != nil {
		if method == "server.connection.identify" {
			return p.identify(l, params)
		}
		if !l.authorized() {
			return nil, &fault{status: http.StatusUnauthorized, message: "Unauthorized"}
		}
		switch method {
		case "printer.objects.subscribe":
			return p.subscribe(l, params)
		case "server.websocket.id":
			return map[string]int64{"websocket_id": l.id}, nil
		}
	}
	var arguments struct {
		Filename string `json:"filename"`
		Sensor   string `json:"sensor"`
		Device   string `json:"device"`
	}
	if len(params) > 0 {
		if err := json.Unmarshal(params, &arguments); err != nil {
			return nil, badRequest("Invalid params")
		}
	}
	switch method {
	case "server.info":
		return p.serverInfo(), nil
	case "printer.info":
		return p.printerInfo(), nil
	case "printer.objects.list":
		return map[string][]string{"objects": objectNames()}, nil
	case "printer.objects.query":
		want, err := wantedOf(params)
		if err != nil {
			return nil, err
		}
		return p.query(want), nil
	case "printer.print.start":
		if arguments.Filename == "" {
			return nil, badRequest("No data for argument: filename")
		}
		return ok(p.start(arguments.Filename))
	case "printer.print.pause":
		return ok(p.pause())
	case "printer.print.resume":
		return ok(p.resume())
	case "printer.print.cancel":
		return ok(p.cancel())
	case "server.files.list":
		return p.list(), nil
	case "access.oneshot_token":
		return p.oneshot(), nil
	case "machine.device_power.devices":
		return p.devices(), nil
	case "machine.device_power.get_device":
		return map[string]string{"printer": "on"}, nil
	case "server.sensors.list":
		return map[string]any{"sensors": map[string]any{"printer": p.sensor()}}, nil
	case "server.sensors.info":
		if arguments.Sensor != "printer" {
			return nil, &fault{status: http.StatusNotFound, message: "No valid sensor named " + arguments.Sensor}
		}
		return p.sensor(), nil
	}
	return nil, &fault{status: http.StatusNotFound, message: "Method not found"}
}

func ok(err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return "ok", nil
}

// wantedOf reads {"objects": {name: null | [field, …], …}}.
func wantedOf(params json.RawMessage) (wanted, error) {
	var request struct {
		Objects wanted `json:"objects"`
	}
	if err := json.Unmarshal(params, &request); err != nil || request.Objects == nil {
		return nil, badRequest("Invalid argument for objects")
	}
	return request.Objects, nil
}

// status is the answer to a query or subscription.
type status struct {
	EventTime json.RawMessage   `json:"eventtime"`
	Status    map[string]fields `json:"status"`
}

func (p *Printer) query(want wanted) (answer status) {
	p.at(func(m *machine) {
		answer = status{EventTime: seconds(m.now), Status: want.from(objects(m))}
	})
	return answer
}

func (p *Printer) serverInfo() map[string]any {
	return map[string]any{
		"klippy_connected": true, "klippy_state": "ready",
		"components":        []string{"klippy_apis", "file_manager", "authorization", "power", "sensor", "virtual_printer"},
		"failed_components": []string{}, "registered_directories": []string{"gcodes"}, "warnings": []string{},
		"websocket_count": p.Connections(), "moonraker_version": "v0.9.3-0-virtual",
		"api_version": []int{1, 5, 0}, "api_version_string": "1.5.0", "missing_klippy_requirements": []string{},
	}
}

func (p *Printer) printerInfo() map[string]any {
	return map[string]any{
		"state": "ready", "state_message": "Printer is ready", "hostname": p.config.Name,
		"klipper_path": "", "python_path": "", "process_id": 0, "user_id": 0, "group_id": 0,
		"log_file": "", "config_file": "", "software_version": "v0.13.0-0-virtual", "cpu_info": "virtual",
		"app": "Klipper",
	}
}

// devices is Moonraker's list of power devices: the plug.
func (p *Printer) devices() map[string]any {
	return map[string]any{"devices": []map[string]any{{
		"device": "printer", "status": "on", "locked_while_printing": true, "type": "shelly",
	}}}
}

// sensor is the plug as a Moonraker sensor: power in watts, energy in
// kilowatt-hours.
func (p *Printer) sensor() (sensor map[string]any) {
	p.at(func(m *machine) {
		total := p.milliWattHours(m)
		sensor = map[string]any{
			"id": "printer", "friendly_name": "Plug", "type": "mqtt",
			"values": map[string]json.RawMessage{
				"power":  json.RawMessage(thousandths(m.power(m.now))),
				"energy": raw("%d.%06d", total/1_000_000, total%1_000_000),
			},
		}
	})
	return sensor
}

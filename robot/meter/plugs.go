package meter

import (
	"context"
	"encoding/json"
	"io"
	"net/url"
	"strconv"
)

// shelly is a Shelly plug or meter of the second generation or later.
type shelly struct {
	endpoint
	path string
}

func openShelly(base endpoint, values url.Values) (Counter, error) {
	id, err := identifier(values, "id")
	if err != nil {
		return nil, err
	}
	return &shelly{endpoint: base, path: "/rpc/Switch.GetStatus?id=" + strconv.Itoa(id)}, nil
}

// Read asks Switch.GetStatus for aenergy.total, in watt-hours.
func (s *shelly) Read(ctx context.Context) (Value, error) {
	var status struct {
		Energy *struct {
			Total json.Number `json:"total"`
		} `json:"aenergy"`
	}
	if err := s.get(ctx, s.path, decodeInto(&status)); err != nil {
		return Value{}, err
	}
	if status.Energy == nil || status.Energy.Total == "" {
		return Value{}, faultf(CodeAnswer, "meter %s has no energy counter (no aenergy.total in its switch)", s.root)
	}
	return value(status.Energy.Total.String(), WattHour)
}

// tasmota is a plug with the Tasmota firmware.
type tasmota struct{ endpoint }

// Read asks Status 8 (also answered as Status 10) for ENERGY.Total, in
// kilowatt-hours.
func (t *tasmota) Read(ctx context.Context) (Value, error) {
	type sensor struct {
		Energy *struct {
			Total json.RawMessage `json:"Total"`
		} `json:"ENERGY"`
	}
	var status struct {
		Sensor  sensor `json:"StatusSNS"`
		Warning string `json:"WARNING"`
	}
	if err := t.get(ctx, t.path(), decodeInto(&status)); err != nil {
		return Value{}, err
	}
	if status.Warning != "" {
		return Value{}, faultf(CodeUnauthorized, "meter %s: %s", t.root, clip(status.Warning))
	}
	if status.Sensor.Energy == nil {
		return Value{}, faultf(CodeAnswer, "meter %s has no energy counter (no ENERGY.Total in Status 8)", t.root)
	}
	var total json.Number
	if err := json.Unmarshal(status.Sensor.Energy.Total, &total); err != nil {
		return Value{}, &Error{Code: CodeAnswer, Detail: "meter " + t.root + " counts several phases or none in ENERGY.Total", Err: err}
	}
	return value(total.String(), KilowattHour)
}

// path carries user and password in the query, as Tasmota wants it.
func (t *tasmota) path() string {
	values := url.Values{"cmnd": {"Status 8"}}
	if t.user != nil {
		values.Set("user", t.user.Username())
		if password, ok := t.user.Password(); ok {
			values.Set("password", password)
		}
	}
	return "/cm?" + values.Encode()
}

func decodeInto(target any) func(io.Reader) error {
	return func(body io.Reader) error {
		decoder := json.NewDecoder(io.LimitReader(body, maxAnswer))
		if err := decoder.Decode(target); err != nil {
			return &Error{Code: CodeAnswer, Detail: "the meter's answer is not the JSON expected", Err: err}
		}
		return nil
	}
}

func value(text string, unit Unit) (Value, error) {
	total, step, err := ParseDecimal(text, unit)
	return Value{Total: total, Step: step}, err
}

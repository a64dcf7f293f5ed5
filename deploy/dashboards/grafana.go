package main

import (
	"encoding/json"
)

// Dashboard is a page of panels, laid out in rows of 24 columns.
type Dashboard struct {
	UID, Title, About string
	Panels            []Panel
}

// Panel is one figure. Unit is one of Grafana's.
type Panel struct {
	Title, About, Unit string
	Single             bool // a number, no graph over time
	Width              int  // columns of 24; 0 means 8
	Queries            []Query
}

// Query is a PromQL expression and the name of its series.
type Query struct{ Expr, Legend string }

const (
	columns     = 24
	panelHeight = 8
	statHeight  = 4
)

type object = map[string]any

// Encode returns the dashboard as Grafana reads it from a file.
func (d Dashboard) Encode() ([]byte, error) {
	var panels []object
	x, y, height := 0, 0, 0
	for i, p := range d.Panels {
		width, tall := p.Width, panelHeight
		if width == 0 {
			width = 8
		}
		if p.Single {
			tall = statHeight
		}
		if x+width > columns || height != 0 && tall != height {
			x, y = 0, y+height
		}
		height = tall
		panels = append(panels, p.encode(i+1, object{"x": x, "y": y, "w": width, "h": tall}))
		x += width
	}
	data, err := json.MarshalIndent(object{
		"uid": d.UID, "title": d.Title, "description": d.About, "tags": []string{"robotorq"}, "editable": true, "schemaVersion": 39,
		"refresh": "10s", "time": object{"from": "now-1h", "to": "now"}, "timezone": "browser", "panels": panels,
		"templating": object{"list": []object{{
			"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus", "hide": 0,
		}}},
	}, "", "  ")
	return append(data, '\n'), err
}

func (p Panel) encode(id int, at object) object {
	source := object{"type": "prometheus", "uid": "${datasource}"}
	var targets []object
	for i, q := range p.Queries {
		targets = append(targets, object{
			"refId": string(rune('A' + i)), "expr": q.Expr, "legendFormat": q.Legend, "datasource": source, "instant": p.Single,
		})
	}
	kind, options := "timeseries", object{
		"legend":  object{"displayMode": "list", "placement": "bottom"},
		"tooltip": object{"mode": "multi", "sort": "desc"},
	}
	if p.Single {
		kind, options = "stat", object{"reduceOptions": object{"calcs": []string{"lastNotNull"}}, "colorMode": "none", "graphMode": "none"}
	}
	return object{
		"id": id, "type": kind, "title": p.Title, "description": p.About, "gridPos": at, "datasource": source, "targets": targets,
		"fieldConfig": object{"defaults": object{"unit": p.Unit, "min": 0, "custom": object{"fillOpacity": 8, "lineWidth": 2}}, "overrides": []object{}},
		"options":     options,
	}
}

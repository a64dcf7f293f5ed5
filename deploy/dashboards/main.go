// Command dashboards writes the Grafana dashboards of a reserve: pipeline, reserve,
// marketplace and node. They are code so that a panel's query stands beside the figure that it
// shows and a test can ask a running reserve for each of them.
//
//	go run ./deploy/dashboards
//
// writes into deploy/grafana/dashboards, from the top of the repository.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := write(filepath.Join("deploy", "grafana", "dashboards")); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	for _, d := range All() {
		data, err := d.Encode()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, d.UID+".json"), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by release builds with -ldflags "-X main.version=…".
var version = "0.1.0-dev"

type versionCmd struct{}

// Help is the long help with an example.
func (versionCmd) Help() string {
	return `Examples:
  robotorq version
  robotorq version --json`
}

func (versionCmd) Run(std streams, g *global) error {
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	if g.JSON {
		return writeJSON(std.Out, map[string]string{
			"version": version, "revision": revision, "go": runtime.Version(),
			"os": runtime.GOOS, "arch": runtime.GOARCH,
		})
	}
	fmt.Fprintf(std.Out, "robotorq %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

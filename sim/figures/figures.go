package figures

import (
	"robotorq.org/reserve/sim/model"
	"robotorq.org/reserve/sim/recording"
)

// Write writes report.html and its plots into a run's directory.
func Write(dir string, r recording.Result, w *model.World) error { return nil }

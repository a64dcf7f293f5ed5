package node

import (
	"time"

	"robotorq.org/reserve/api"
)

// Findings is what the operator is told from the figures alone.
var Findings = findings

// Sizes measures a data directory.
var Sizes = sizes

// Growth is the memory of the sizes of a data directory.
type Growth struct{ growth }

func NewGrowth(dir string) *Growth { return &Growth{growth{dir: dir}} }

func (g *Growth) Add(parts map[string]uint64, at time.Time) { g.add(parts, at) }
func (g *Growth) Disk(founded time.Time) (api.Disk, error)  { return g.disk(founded) }
func (g *Growth) Measurements() int                         { return len(g.past) }

package api

import (
	"context"
	"runtime"
	"time"
)

// writes bounds the signed writes that are verified at once: no more than there
// are processors, so that what is verified under a station's lock leaves room for
// the rest of the node.
type writes struct {
	lanes chan struct{} // who has one is with a station
	line  chan struct{} // who has one has a lane or waits for it
}

// maxWriteLine is how many signed writes may be with the stations or wait.
const maxWriteLine = 256

func newWrites() writes {
	return writes{lanes: make(chan struct{}, runtime.GOMAXPROCS(0)), line: make(chan struct{}, maxWriteLine)}
}

// write waits for a lane. done MUST be called unless there is an error, which is
// what the client gets.
func (s *Server) write(ctx context.Context) (done func(), err error) {
	select {
	case s.writes.line <- struct{}{}:
	default:
		return nil, s.later(ctx, CodeUnavailable, 5*time.Second, "Too many signed writes wait. Send it again in %d seconds; repeating it is safe.")
	}
	select {
	case s.writes.lanes <- struct{}{}:
		return func() {
			<-s.writes.lanes
			<-s.writes.line
		}, nil
	case <-ctx.Done():
		<-s.writes.line
		return nil, s.fail(ctx, ctx.Err())
	}
}

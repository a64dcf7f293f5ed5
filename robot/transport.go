package robot

import "context"

// Transport brings a robot's signed reports to its digger and what the digger
// says back. It may lose, repeat, delay and reorder both; the chain and the
// spool mend that. One is in package uplink over NATS, one over HTTPS.
type Transport interface {
	// Listen hands everything that the digger says about the robot's reports to
	// hear until ctx ends, then returns nil. While the digger cannot be reached
	// it tries again by itself, with a growing pause; it returns only an error
	// that waiting does not mend. hear may be called from any goroutine and
	// does not block.
	Listen(ctx context.Context, robot string, hear func(Answer)) error
	// Send hands over one report envelope in CBOR. nil means that it is under
	// way, not that it arrived: that is what the digger's mark says. An error
	// means that it should be tried again later. Send may be called again with
	// a report that it has taken, and also before Listen.
	Send(ctx context.Context, robot string, seq uint64, envelope []byte) error
}

package bus

import "context"

// Transport is what the hand-over needs of a bus, and all that it needs. It may lose, delay,
// repeat and reorder. [Bus] is one; tests wrap it to be worse.
type Transport interface {
	// Send takes messages of an outbox in order and returns how many of them, from the first, the
	// transport has taken, and why it took no more. It returns within seconds if the bus is down.
	Send(ctx context.Context, msgs []Message) (taken int, err error)

	// Receive delivers messages of the subjects to one consumer of one producer until ctx ends,
	// one call at a time; it waits while deliver does. It survives the bus being down, and returns
	// only ctx's error or one that waiting does not mend.
	Receive(ctx context.Context, consumer, producer string, subjects []string, deliver func(Message)) error

	// Publish sends one direct message and forgets it.
	Publish(ctx context.Context, m Message) error

	// Subscribe delivers direct messages, one call at a time, until stop, which waits for a running
	// call. While handle works at most pending messages wait; those above are lost.
	Subscribe(subject string, pending int, handle func(Message)) (stop func(), err error)
}

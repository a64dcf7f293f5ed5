package bus

import "context"

// Deliver hands a consumer of this process everything that the outbox holds above the
// consumer's mark, in order and without the transport: what has to be taken before
// anything else starts. handle saves the mark with what it took, as a [Consumer]'s does;
// later the transport goes on from there.
func (o *Outbox) Deliver(ctx context.Context, mark func(context.Context) (Mark, error), handle func(context.Context, []Message) error) error {
	_, last, err := o.bounds(ctx)
	if err != nil {
		return err
	}
	for {
		at, err := mark(ctx)
		if err != nil || at.Seq >= last {
			return err
		}
		msgs, err := o.rows(ctx, at.Seq, last, deliverAtOnce, deliverBytes)
		if err != nil {
			return err
		}
		if len(msgs) == 0 || msgs[0].Seq != at.Seq+1 || msgs[0].Prev != at.Digest {
			return &Error{Code: CodeTrimmed, Op: "deliver", Peer: o.producer, Seq: at.Seq, Detail: "what follows the consumer's mark is not there"}
		}
		if err := handle(ctx, msgs); err != nil {
			return err
		}
	}
}

// What is delivered at once.
const (
	deliverAtOnce = 256
	deliverBytes  = 8 << 20
)

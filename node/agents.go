package node

import (
	"context"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/merkle"
	"robotorq.org/reserve/robot"
)

// ReportSender publishes robots' reports to their digger on the bus.
type ReportSender struct {
	Bus    *bus.Bus
	Digger string
}

// Send implements [robot.Sender].
func (s ReportSender) Send(ctx context.Context, id string, _ uint64, envelope []byte) error {
	subject, err := bus.SubjectReport(s.Digger, id)
	if err != nil {
		return err
	}
	return s.Bus.Publish(ctx, bus.Message{Subject: subject, Body: envelope})
}

// Listen hands the digger's answers on the bus to an agent until stop is called.
func Listen(b *bus.Bus, digger string, agent *robot.Agent) (stop func(), err error) {
	subject, err := bus.SubjectAck(digger, agent.ID())
	if err != nil {
		return nil, err
	}
	return b.Subscribe(subject, 64, func(m bus.Message) {
		ack, err := bus.DecodeAck(m.Body)
		if err != nil {
			return // damaged on the way: the digger says it again
		}
		agent.Answer(robot.Answer{
			Mark: ack.Mark.Seq, Digest: merkle.Hash(ack.Mark.Digest), Want: ack.Want,
			Refusal: robot.Refusal{Seq: ack.Refusal.Seq, Digest: merkle.Hash(ack.Refusal.Digest), Code: ack.Refusal.Code, Detail: ack.Refusal.Detail},
		})
	})
}

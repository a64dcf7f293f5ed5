package bus_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"robotorq.org/reserve/bus"
)

func TestRobotsMayReportAndHearTheAnswerAndNothingElse(t *testing.T) {
	const token = "robots-secret"
	own := startBus(t, t.TempDir(), func(o *bus.Options) { o.Listen, o.Token, o.Robots = "127.0.0.1:0", token, true })
	quiet := bus.Options{Clock: clock{}, Robots: true}
	_, err := bus.Connect(t.Context(), own.URL(), quiet)
	wantCode(t, err, bus.CodeDown)
	address := strings.Replace(own.URL(), "nats://", "nats://"+token+"@", 1)
	robot, err := bus.Connect(t.Context(), address, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer robot.Close()

	heard := make(chan string, 64)
	hear := func(b *bus.Bus, subject string) {
		stop, err := b.Subscribe(subject, 64, func(m bus.Message) { heard <- m.Subject })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
	}
	hear(own, "rtq.>")
	hear(robot, "rtq.ack.digger-1.robot-1")
	send := func(b *bus.Bus, subject string) {
		if err := b.Publish(t.Context(), bus.Message{Subject: subject, Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	// What is refused is sent first: when the report arrives, it has been passed over.
	for _, subject := range []string{
		"rtq.ack.refinery-1.digger-1", "rtq.batch.digger-1", "rtq.pour.refinery-1", "rtq.certificate.mint-1",
		"rtq.contract.1.closing", "rtq.robot.robot-1.enrolled", "rtq.vault.head", "$JS.API.STREAM.DELETE.RTQ",
	} {
		send(robot, subject)
	}
	send(robot, "rtq.report.digger-1.robot-1")
	want(t, heard, "rtq.report.digger-1.robot-1")
	send(own, "rtq.ack.digger-1.robot-1")
	want(t, heard, "rtq.ack.digger-1.robot-1")
	want(t, heard, "rtq.ack.digger-1.robot-1") // by both

	// The stream still stands and takes messages of this process.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := own.Send(ctx, []bus.Message{{Subject: "rtq.batch.digger-1", Producer: "digger-1", Seq: 1, Body: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := robot.Send(ctx, []bus.Message{{Subject: "rtq.batch.digger-1", Producer: "digger-1", Seq: 2, Body: []byte("x")}}); err == nil {
		t.Fatal("a robot sent a batch")
	}
}

func want(t *testing.T, heard <-chan string, subject string) {
	t.Helper()
	select {
	case got := <-heard:
		if got != subject {
			t.Fatalf("heard %s, want %s", got, subject)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%s was not heard", subject)
	}
}

func TestATokenIsNotPrinted(t *testing.T) {
	_, err := bus.Connect(t.Context(), "nats://very-secret@127.0.0.1:1,also-secret@127.0.0.1:2", bus.Options{Clock: clock{}})
	wantCode(t, err, bus.CodeDown)
	if strings.Contains(err.Error(), "secret") {
		t.Fatal(err)
	}
}

func TestRobotsAndServicesHaveTokensOfTheirOwn(t *testing.T) {
	_, err := bus.Start(t.Context(), bus.Options{StoreDir: t.TempDir(), Clock: clock{}, Listen: "127.0.0.1:0", Robots: true, Token: "same", Services: "same"})
	wantCode(t, err, bus.CodeConfig)
}

package bus_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"robotorq.org/reserve/bus"
	"robotorq.org/reserve/robot/robottest"
)

func TestAPortThatOtherMachinesReachHasTLS(t *testing.T) {
	_, _, pair, trust := robottest.Certificate(t)
	open := bus.Options{StoreDir: t.TempDir(), Listen: "0.0.0.0:0", Token: "robots", Robots: true, Clock: clock{}}
	_, err := bus.Start(t.Context(), open)
	wantCode(t, err, bus.CodeConfig)
	if !strings.Contains(err.Error(), "--nats-cert") {
		t.Errorf("it does not say what to do: %v", err)
	}
	for name, change := range map[string]func(*bus.Options){
		"TLS": func(o *bus.Options) { o.TLS = &tls.Config{Certificates: []tls.Certificate{pair}} }, "a tunnel": func(o *bus.Options) { o.Plain = true },
	} {
		protected := open
		protected.StoreDir = t.TempDir()
		change(&protected)
		b, err := bus.Start(t.Context(), protected)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}

	own := startBus(t, t.TempDir(), func(o *bus.Options) {
		o.Listen, o.Token, o.Robots, o.TLS = "127.0.0.1:0", "robots", true, &tls.Config{Certificates: []tls.Certificate{pair}}
	})
	address := "tls://robots@" + own.URL()[strings.Index(own.URL(), "://")+3:]
	robot, err := bus.Connect(t.Context(), address, bus.Options{Clock: clock{}, Robots: true, TLS: &tls.Config{RootCAs: trust}})
	if err != nil {
		t.Fatal(err)
	}
	defer robot.Close()
	heard := make(chan string, 1)
	stop, err := own.Subscribe("rtq.report.digger-1.*", 8, func(m bus.Message) { heard <- m.Subject })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := robot.Publish(t.Context(), bus.Message{Subject: "rtq.report.digger-1.robot-1", Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	want(t, heard, "rtq.report.digger-1.robot-1")
	_, err = bus.Connect(t.Context(), address, bus.Options{Clock: clock{}, Robots: true, TLS: &tls.Config{}})
	wantCode(t, err, bus.CodeDown)
	if strings.Contains(err.Error(), "robots@") {
		t.Errorf("the token is in: %v", err)
	}
}

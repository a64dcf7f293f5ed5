package node

import (
	"net"

	"robotorq.org/reserve/sim/queue"
)

// simulator is the queue of the simulator's runs. It shares the process with the reserve
// and nothing else: no store, no bus, no books.
func (n *Node) simulator() *queue.Queue {
	return queue.New(queue.Options{Clock: n.clock, Version: n.cfg.Version, Log: n.log.With("room", "simulator")})
}

// loopback tells whether an address to listen on is reached from this machine alone.
func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

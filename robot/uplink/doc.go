// Package uplink has the two ways from a robot's agent to its digger: [NATS],
// the reserve's bus, and [Web], the reserve's HTTP interface (the robot chapter
// of the specification, reports; the proof chain's section 6). [Bus] is the
// first of them over a connection that this process has anyhow.
//
// Each connects by itself and again after every break, with a growing,
// jittered pause, so that an agent may be started, and works, while the reserve
// is away. They promise nothing else: what is lost is sent again from the
// spool.
//
// Trust: an answer is handed on as it came; the agent believes a mark or a
// refusal only as far as its own spool bears it out. Nothing here survives a
// crash, and nothing has to.
package uplink

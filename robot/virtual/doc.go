// Package virtual is a 3D printer that exists only as a server: it speaks the
// part of Moonraker's API that a robot agent uses (HTTP and JSON-RPC over a
// websocket) and, as the smart plug before it, Shelly's Switch.GetStatus,
// Tasmota's Status 8 and a Prometheus page. Agent, demo and tests talk to it
// exactly as to a real printer, by the same code (the robot chapter of the
// specification, virtual printer).
//
// A job takes time and power with noise. Power is a function of the seed and
// of the time since the printer was made, so two printers with one seed, one
// clock and the same calls count the same energy. Energy is integrated in
// whole microjoules; it is exact between any two reads.
//
// Nothing survives a restart: counters start again at zero, as those of a
// plug do that lost its memory, and the agent must cope.
package virtual

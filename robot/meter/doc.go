// Package meter reads the counters a robot's work is measured by: the energy
// counter of a smart plug or meter, and the token counter of an inference
// server (the robot chapter of the specification, sources of energy and
// tokens).
//
// A counter is read as decimal text and turned into an integer (millijoules
// or tokens) by exact integer arithmetic; a float never touches energy.
// [Differ] turns a sequence of counter values into differences that are never
// negative and never huge, whatever the counter does: reset, roll over, be
// replaced by another, answer nonsense once.
//
// A plug or an inference server is asked over HTTP at each sample; a device
// that publishes over MQTT is listened to, and what it last said is its count
// until it has been silent for too long.
//
// Trust: a meter is believed up to the plausibility limit its caller gives to
// Differ; what lies above is discarded and counted. Nothing here survives a
// crash: after a restart the first value read is the new base, and what the
// counter did in between is not counted.
package meter

// Package moonraker is a client of the part of Moonraker's API that a robot
// agent needs: state and job control of a Klipper printer, over HTTP and over
// JSON-RPC on a websocket (the robot chapter of the specification, activity).
//
// [Client.Watch] keeps a websocket, identifies itself, subscribes and comes
// back after every break with a growing, jittered pause; while it cannot say
// what the printer does, it says [Unknown].
//
// Trust: answers are bounded in size and believed. Nothing survives a crash;
// there is nothing to keep.
package moonraker

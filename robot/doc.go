// Package robot is the agent beside a machine: it turns the machine's work
// into signed reports (the robot chapter of the specification; proof chain §1
// to §4 and §6).
//
//   - [Recorder] is the pure part: samples of the meters and changes of the
//     machine's state go in, readings and closed reports come out. It takes
//     care that whatever is signed is sound: no reading overlaps another, none
//     exceeds the rating, no report exceeds the bond.
//   - [Spool] is the robot's own book: reports are in it before they leave, and
//     until the digger's mark has passed them.
//   - [Agent] is the shell around both: it reads the meters (package meter),
//     watches the machine (package moonraker), signs, and sends.
//
// Trust: the agent believes its meter and its machine up to the rating, its
// clock up to a second a step, and nobody else. The digger, the refinery and
// the verifier check again everything that the agent promises here.
//
// What survives a crash: every signed report, the robot's seq, digest and the
// end of its last reading; a kill at any instant never leads to two different
// reports under one seq, nor to overlapping readings. The readings of a report
// that is still open are written down once a minute: a crash loses at most the
// last minute, a graceful stop nothing.
package robot

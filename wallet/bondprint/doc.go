// Package bondprint makes things to hold from an issued bearer bond: a coin to print
// in three dimensions (3MF and STL), a note to fold (SVG and PDF), and what an
// NTAG215 chip says. Printing is not minting: all of them show one bond, and whoever
// uses its secret first has it.
//
// The public side says face, serial and the address at which the bond can be
// checked, in letters and as a QR code. The secret is inside: in relief on the floor
// of the coin's chamber, beneath a foil and a glued lid; on the note's middle panel,
// beneath two folds. It never stands in an address, and the chip does not know it.
//
// # The coin
//
// Three flat parts of 60 mm, each to be printed without support, relief upwards:
// obverse and reverse, which are glued on with three pins of 1.75 mm filament, and
// the chamber between them with the secret and a seat for a foil of 46 mm. Relief
// stands for a second colour, changed at one height.
//
// Coordinates are whole micrometres. Floating point serves for layout only, every
// decision of the triangulation is exact, and a mesh leaves this package only after
// [Mesh.Check] found it closed: each edge shared by two triangles, in opposite
// directions, no triangle without area, positive volume.
//
// # Trust, time and files
//
// The package does no I/O and reads no clock, and the same bond gives the same bytes.
// It trusts that the caller has checked the bond (wallet.CheckBond); it checks that
// the secret is the bond's. Nothing of it could survive a crash. Letters are outlines
// (directory glyphs), so that a print looks the same on every machine.
//
// It implements the printing of bearer bonds of the ledger's specification, section
// 2.
package bondprint

package meter

// LookUp is the decoder of messages, for its fuzz target.
var LookUp = lookUp

// SplitPath reads a path as an address has it.
var SplitPath = splitPath

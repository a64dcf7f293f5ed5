package node

// Loopback is exported for tests.
var Loopback = loopback

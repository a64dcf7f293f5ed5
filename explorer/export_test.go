package explorer

// Schemas is of the explorer's file.
var Schemas = schemas

package explorer

// Schemas is of the explorer's file.
var Schemas = schemas

// Paid is what an enterprise has received for a contract.
var Paid = paid

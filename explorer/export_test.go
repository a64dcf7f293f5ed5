package explorer

// Schemas is of the explorer's file.
var Schemas = schemas

// Paid is what an enterprise has received for a contract.
var Paid = paid

// Read is how many entries of the log the explorer has taken in.
func (e *Explorer) Read() uint64 {
	e.catalogue.mu.Lock()
	defer e.catalogue.mu.Unlock()
	return e.catalogue.scanned
}

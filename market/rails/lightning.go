package rails

import "context"

// Hash is a Lightning payment hash, Preimage what hashes to it (SHA-256).
type (
	Hash     [32]byte
	Preimage [32]byte
)

// Lightning is a Lightning node. All methods may be called at the same time, by several
// processes, and again after any failure. They return *Error.
type Lightning interface {
	// CreateInvoice makes an invoice for exactly AmountSats. Asked again with a hash that it
	// already has an invoice for, it returns that invoice.
	CreateInvoice(context.Context, InvoiceRequest) (Invoice, error)
	// Invoice looks an invoice up; NotFound if there is none.
	Invoice(context.Context, Hash) (Invoice, error)
	// Follow calls changed with the invoice as it is now and after each change. It returns
	// nil when the state is final (settled or cancelled), and an error when the stream broke
	// or ctx ended.
	Follow(ctx context.Context, hash Hash, changed func(Invoice)) error
	// SettleHold takes what a hold invoice holds. Nil if it is settled, now or already;
	// Refused if it was cancelled or holds nothing.
	SettleHold(context.Context, Preimage) error
	// CancelInvoice frees a hold, or makes an open invoice unpayable. Nil if it is cancelled,
	// now or already; Refused if it is settled.
	CancelInvoice(context.Context, Hash) error
	// Decode reads a BOLT 11 invoice of this node's network; Invalid otherwise.
	Decode(ctx context.Context, bolt11 string) (PaymentRequest, error)
	// Pay pays an invoice and waits until ctx ends or the payment is final. At most one
	// payment per hash is ever under way or done: asked again it reports on that one, and
	// only a finally failed one is tried anew. A payment whose end was not seen is InFlight,
	// never Failed. Insufficient when no route or balance at all: nothing was sent.
	Pay(context.Context, PayRequest) (Payment, error)
	// Payment looks a payment up by its hash; NotFound if none was ever begun here.
	Payment(context.Context, Hash) (Payment, error)
	// Liquidity is what the channels hold and can receive.
	Liquidity(context.Context) (Liquidity, error)
}

// InvoiceRequest asks for an invoice. The caller makes the preimage, so that it knows the hash
// before anything happens. Of a hold invoice the node gets the hash alone.
type InvoiceRequest struct {
	Preimage      Preimage // SHA-256 of it is the payment hash
	Hold          bool
	AmountSats    int64
	Memo          string // at most 639 bytes
	ExpirySeconds int64
	CLTVDelta     int64 // blocks that a held payment lasts; 0: the node's own choice
}

// InvoiceState is the state of an invoice.
type InvoiceState string

const (
	InvoiceOpen      InvoiceState = "open"
	InvoiceHeld      InvoiceState = "held"      // a hold invoice: paid, neither settled nor cancelled
	InvoiceSettled   InvoiceState = "settled"   // final: the sats are here
	InvoiceCancelled InvoiceState = "cancelled" // final: also expired
)

// Invoice is an invoice of this node.
type Invoice struct {
	Bolt11       string
	Hash         Hash
	State        InvoiceState
	Hold         bool
	AmountSats   int64 // asked for
	PaidSats     int64 // held or settled, rounded down; 0 in other states
	ExpiresAtMs  int64
	ExpiryHeight int64 // of a held payment: the lowest HTLC expiry; 0 in other states
	Height       int64 // of the chain, as the Lightning node sees it; 0: unknown
}

// PaymentRequest is a BOLT 11 invoice of somebody else.
type PaymentRequest struct {
	Hash        Hash
	AmountSats  int64 // 0: the invoice names no amount. Millisats are rounded up
	ExpiresAtMs int64
	Payee       string // public key of the node, hex
	Memo        string
}

// PayRequest asks for a payment.
type PayRequest struct {
	Bolt11       string
	Hash         Hash
	AmountSats   int64 // for an invoice without an amount; otherwise equal to the invoice's
	FeeLimitSats int64
}

// PaymentState is the state of an outgoing payment.
type PaymentState string

const (
	PaymentInFlight  PaymentState = "in_flight"
	PaymentSucceeded PaymentState = "succeeded" // final
	PaymentFailed    PaymentState = "failed"    // final: nothing left and nothing will leave
)

// Payment is an outgoing payment.
type Payment struct {
	Hash       Hash
	State      PaymentState
	AmountSats int64 // that the payee got, when it succeeded
	FeeSats    int64 // routing fee, rounded up
	Reason     string
}

// Liquidity is what the channels hold and can take.
type Liquidity struct {
	LocalSats      int64 // ours in open channels
	InboundSats    int64 // that could be received over active channels
	LargestInbound int64 // that one active channel could receive
	Height         int64
	Synced         bool
}

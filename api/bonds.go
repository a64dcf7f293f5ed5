package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"robotorq.org/reserve/torq"
)

// Codes of what bearers ask for.
const (
	CodeBondUnknown   Code = "bond_unknown"   // there is none of that serial, or key
	CodeBondRedeemed  Code = "bond_redeemed"  // once only: it was redeemed before
	CodeBondSigner    Code = "bond_signer"    // not by the key that the bond is bound to
	CodeBondSignature Code = "bond_signature" // a signature that does not verify
	CodeBondExpired   Code = "bond_expired"   // a claim after its time
)

// Bond is what the reserve says of a bearer bond. Whose it is nobody knows.
type Bond struct {
	Serial       uint64        `json:"serial"`
	Face         uint64        `json:"face" doc:"Whole RT"`
	JT           torq.JT       `json:"face_jt"`
	State        string        `json:"state" enum:"live,redeemed" doc:"A redeemed bond is worth nothing"`
	KeyHash      string        `json:"key_hash" doc:"SHA-256 of the bearer's Ed25519 key"`
	Certificates []SerialRange `json:"certificates" nullable:"false" doc:"Bound to it; none once it is redeemed"`
	Issued       int64         `json:"issued_ms"`
	Versions     []BondVersion `json:"versions" nullable:"false" doc:"Logged artefacts, oldest first; the last one holds"`
}

// SerialRange is certificates from a serial to another, both included.
type SerialRange struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// BondVersion is one logged artefact of a bond.
type BondVersion struct {
	Digest  string `json:"digest"`
	Entry   uint64 `json:"log_entry"`
	Issued  int64  `json:"issued_ms"`
	Root    string `json:"root" doc:"RFC 6962 root over the digests of its certificates"`
	KeyHash string `json:"key_hash"`
}

// Claimed answers a redemption or a reissue.
type Claimed struct {
	Bond     Bond    `json:"bond"`
	Payee    string  `json:"payee,omitempty" doc:"Of a redemption: the wallet that was paid"`
	JT       torq.JT `json:"jt,omitempty" doc:"Of a redemption: what was paid"`
	Posting  uint64  `json:"posting"`
	Hash     string  `json:"posting_hash"`
	Repeated bool    `json:"repeated" doc:"The very same claim was done before; this is its first result"`
}

// Bonds is what bearers ask of the reserve. Errors are [*Error].
type Bonds interface {
	// Bond is a bond by its serial.
	Bond(ctx context.Context, serial uint64) (Bond, error)
	// BondOfKey is the bond that is bound to the key with this hash (64 hexadecimal
	// digits), among the newest.
	BondOfKey(ctx context.Context, keyHash string) (Bond, error)
	// BondFile is all that an offline check of a bond needs, as a JSON document.
	BondFile(ctx context.Context, serial uint64) ([]byte, error)
	// Redeem pays a bond by a claim of its bearer (JSON: envelope and public key).
	Redeem(ctx context.Context, claim []byte) (Claimed, error)
	// Reissue binds a bond to another key by a claim of its bearer.
	Reissue(ctx context.Context, claim []byte) (Claimed, error)
}

// ClaimForm is a bearer's claim in JSON.
type ClaimForm struct {
	Envelope Envelope `json:"envelope"`
	Public   []byte   `json:"public" doc:"The bearer's Ed25519 key, 32 bytes, of which the bond holds the hash"`
}

type claimInput struct {
	RawBody []byte
	Body    ClaimForm
}

type bondInput struct {
	Serial uint64 `path:"serial" minimum:"1" maximum:"9007199254740991"`
}

type bondKeyInput struct {
	KeyHash string `query:"key_hash" required:"true" pattern:"^[0-9a-f]{64}$" doc:"SHA-256 of the bearer's key"`
}

const maxClaim = 16 << 10

func (s *Server) bonds(api huma.API, bonds Bonds) {
	get(s, api, "get-bond", "/bonds/{serial}", tagBonds, "A bearer bond and whether it is still good",
		func(ctx context.Context, in *bondInput) (Bond, error) { return bonds.Bond(ctx, in.Serial) })
	get(s, api, "find-bond", "/bonds", tagBonds, "The bond that is bound to a key",
		func(ctx context.Context, in *bondKeyInput) (Bond, error) { return bonds.BondOfKey(ctx, in.KeyHash) })
	file := download("download-bond", "/bonds/{serial}/file", "All that an offline check of a bond needs, as `robotorq verify` takes it; it holds no secret")
	file.Tags = []string{tagBonds}
	huma.Register(api, file, func(ctx context.Context, in *bondInput) (*huma.StreamResponse, error) {
		document, err := bonds.BondFile(ctx, in.Serial)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return s.stream(io.NopCloser(bytes.NewReader(document)), fmt.Sprintf("bond-%d.json", in.Serial)), nil
	})
	for _, c := range []struct {
		id, path, summary string
		do                func(context.Context, []byte) (Claimed, error)
	}{
		{"post-redemption", "/redemptions", "Redeem a bond into a wallet, once, by its bearer's signature", bonds.Redeem},
		{"post-reissue", "/reissues", "Bind a bond to another key, by its bearer's signature", bonds.Reissue},
	} {
		huma.Register(api, huma.Operation{
			OperationID: c.id, Method: http.MethodPost, Path: "/api/v1" + c.path, Tags: []string{tagBonds}, Summary: c.summary,
			Description:  "The body holds the envelope that the bearer's key signed, and that key. The secret never leaves its bearer. The very same body again gets the first answer.",
			MaxBodyBytes: maxClaim,
			Middlewares:  huma.Middlewares{s.door},
		}, func(ctx context.Context, in *claimInput) (*answer[Claimed], error) {
			done, err := s.write(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			claimed, err := c.do(ctx, in.RawBody)
			if err != nil {
				return nil, s.fail(ctx, err)
			}
			fillSlices(reflect.ValueOf(&claimed).Elem())
			return &answer[Claimed]{CacheControl: "no-store", Body: claimed}, nil
		})
	}
}

const tagBonds = "bonds"

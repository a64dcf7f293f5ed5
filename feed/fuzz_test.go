package feed_test

import (
	"bytes"
	"testing"

	"robotorq.org/reserve/feed"
	"robotorq.org/reserve/seal"
)

// FuzzDecode: the body of a feed message is written again to the byte.
func FuzzDecode(f *testing.F) {
	body, err := feed.Encode(seal.Envelope{PayloadType: "x", Payload: []byte{1}, Signatures: []seal.Signature{{KeyID: "0123456789abcdef", Sig: []byte{2}}}}, [][]byte{{3}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Fuzz(func(t *testing.T, body []byte) {
		env, certificates, err := feed.Decode(body)
		if err != nil {
			return
		}
		if again, err := feed.Encode(env, certificates); err != nil || !bytes.Equal(again, body) {
			t.Fatalf("%x is written as %x (%v)", body, again, err)
		}
	})
}

package bus_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"robotorq.org/reserve/bus"
)

func TestSubjectsAreThoseOfTheInterface(t *testing.T) {
	type call struct {
		got  string
		err  error
		want string
	}
	of := func(want string, got string, err error) call { return call{got, err, want} }
	s1, e1 := bus.SubjectReport("digger-1", "robot-7")
	s2, e2 := bus.SubjectReports("digger-1")
	s3, e3 := bus.SubjectBatch("digger-1")
	s4, e4 := bus.SubjectPour("refinery-1")
	s5, e5 := bus.SubjectCertificate("mint")
	s6, e6 := bus.SubjectContract(12, "funded")
	s7, e7 := bus.SubjectRobot("robot-7", "enrolled")
	s8, e8 := bus.SubjectVault("posted")
	s9, e9 := bus.SubjectAck("refinery-1", "digger-1")
	s10, e10 := bus.SubjectAcks("digger-1")
	for _, c := range []call{
		of("rtq.report.digger-1.robot-7", s1, e1), of("rtq.report.digger-1.*", s2, e2), of("rtq.batch.digger-1", s3, e3),
		of("rtq.pour.refinery-1", s4, e4), of("rtq.certificate.mint", s5, e5), of("rtq.contract.12.funded", s6, e6),
		of("rtq.robot.robot-7.enrolled", s7, e7), of("rtq.vault.posted", s8, e8), of("rtq.ack.refinery-1.digger-1", s9, e9),
		of("rtq.ack.*.digger-1", s10, e10), of("rtq.contract.>", bus.SubjectContracts(), nil),
		of("rtq.robot.>", bus.SubjectRobots(), nil), of("rtq.vault.>", bus.SubjectVaults(), nil),
	} {
		if c.err != nil || c.got != c.want {
			t.Errorf("%q, %v, want %q", c.got, c.err, c.want)
		}
	}
	_, err := bus.SubjectContract(0, "funded")
	wantCode(t, err, bus.CodeSubject)
	_, err = bus.SubjectAcks("a.b")
	wantCode(t, err, bus.CodeID)
}

func TestIdsAreShortLowerCaseWordsWithDashes(t *testing.T) {
	for _, ok := range []string{"a", "0", "a-", "robot-1", strings.Repeat("x", 63)} {
		if err := bus.CheckID(ok); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "-a", "A", "a.b", "a*", "a>", "a b", "a_b", "é", "a\n", strings.Repeat("x", 64)} {
		wantCode(t, bus.CheckID(bad), bus.CodeID)
		_, err := bus.SubjectBatch(bad)
		wantCode(t, err, bus.CodeID)
	}
}

func TestTheLinkDigestIsSHA256OverPrevSeqSubjectAndBody(t *testing.T) {
	prev := bus.Digest{1, 2, 3}
	raw := append(prev[:], 0, 0, 0, 0, 0, 0, 1, 2, 0, 11)
	raw = append(raw, "rtq.batch.abody"...)
	if got := bus.LinkDigest(prev, 258, "rtq.batch.a", []byte("body")); got != sha256.Sum256(raw) {
		t.Fatal(got)
	}
	// Every part counts, and none runs into the next.
	base := bus.LinkDigest(prev, 258, "rtq.batch.a", []byte("body"))
	for _, other := range []bus.Digest{
		bus.LinkDigest(bus.Digest{}, 258, "rtq.batch.a", []byte("body")), bus.LinkDigest(prev, 259, "rtq.batch.a", []byte("body")),
		bus.LinkDigest(prev, 258, "rtq.batch.ab", []byte("ody")), bus.LinkDigest(prev, 258, "rtq.batch.a", []byte("bodi")),
	} {
		if other == base {
			t.Fatal("two messages with one digest")
		}
	}
}

func digests(t *rapid.T, name string) (d bus.Digest) {
	copy(d[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, name))
	return d
}

func TestAnAckEncodesToItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seq := rapid.Uint64Range(0, 1<<63-1)
		a := bus.Ack{Mark: bus.Mark{Seq: seq.Draw(t, "seq"), Digest: digests(t, "digest")}, Want: seq.Draw(t, "want")}
		if rapid.Bool().Draw(t, "refusal") {
			a.Refusal = bus.Refusal{Seq: seq.Draw(t, "refused"), Digest: digests(t, "which"),
				Code: rapid.StringMatching(`[a-z_]{1,64}`).Draw(t, "code"), Detail: rapid.StringN(0, 100, 512).Draw(t, "detail")}
		}
		back, err := bus.DecodeAck(a.Encode())
		if err != nil || back != a {
			t.Fatalf("%+v, %v, want %+v", back, err, a)
		}
	})
	long := bus.Ack{Refusal: bus.Refusal{Code: strings.Repeat("c", 100), Detail: strings.Repeat("é", 400)}}
	back, err := bus.DecodeAck(long.Encode())
	if err != nil || len(back.Refusal.Code) != 64 || len(back.Refusal.Detail) != 512 {
		t.Fatalf("%+v, %v", back, err)
	}
}

func TestTheBytesOfAnAckAreFixed(t *testing.T) {
	a := bus.Ack{Mark: bus.Mark{Seq: 258, Digest: bus.Digest{0xaa}}, Want: 300}
	want := "83" + "190102" + "5820aa" + strings.Repeat("00", 31) + "19012c"
	if got := hex.EncodeToString(a.Encode()); got != want {
		t.Fatal(got)
	}
	a.Refusal = bus.Refusal{Seq: 259, Digest: bus.Digest{0xbb}, Code: "x", Detail: "y"}
	want = "87" + want[2:] + "190103" + "5820bb" + strings.Repeat("00", 31) + "6178" + "6179"
	if got := hex.EncodeToString(a.Encode()); got != want {
		t.Fatal(got)
	}
}

func FuzzDecodeAck(f *testing.F) {
	f.Add([]byte{})
	f.Add(bus.Ack{}.Encode())
	f.Add(bus.Ack{Mark: bus.Mark{Seq: 1 << 40}, Want: 7, Refusal: bus.Refusal{Seq: 3, Code: "time_order", Detail: "late"}}.Encode())
	f.Add([]byte{0x83, 0x1a, 0, 0, 0, 1, 0x58, 0x20})
	f.Add([]byte{0x9f, 0x00, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := bus.DecodeAck(b)
		if err != nil {
			if bus.CodeOf(err) != bus.CodeMalformed {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(a.Encode(), b) {
			t.Fatalf("%x decodes but encodes as %x", b, a.Encode())
		}
	})
}

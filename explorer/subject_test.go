package explorer_test

import (
	"testing"

	"robotorq.org/reserve/explorer"
)

func TestOnePersonHasOneSubjectHoweverItIsSpelt(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	want := explorer.SubjectHash(key, "reserve.example/log", "Passport X1234567 Zoë Straße")
	for _, spelt := range []string{
		"  passport   x1234567 ZOË STRASSE\n", "Passport X1234567 Zoe\u0308 Straße", "Ｐａｓｓｐｏｒｔ X1234567 Zoë Stra\u00adße", "Passport\u00a0X1234567\tZoë Straße\u200b",
	} {
		if explorer.SubjectHash(key, "reserve.example/log", spelt) != want {
			t.Errorf("%q is another person: %q", spelt, explorer.NormalSubject(spelt))
		}
	}
	for _, other := range []string{"Passport X1234568 Zoë Straße", "Passport X1234567 Zoe Straße", ""} {
		if explorer.SubjectHash(key, "reserve.example/log", other) == want {
			t.Errorf("%q is the same person", other)
		}
	}
	if explorer.SubjectHash(key, "other.example/log", "Passport X1234567 Zoë Straße") == want {
		t.Error("two reserves see one person alike")
	}
}

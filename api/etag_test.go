package api_test

import (
	"net/http"
	"strings"
	"testing"

	"robotorq.org/reserve/api/apitest"
)

func TestWhatAClientHasIsNotSentAgain(t *testing.T) {
	h := handler(t, apitest.New(3, noon))
	for _, path := range []string{"/certificates/3", "/charter", "/reports/" + apitest.NewestReport("alba"), "/reports/" + apitest.NewestReport("alba") + "/envelope", "/certificates/3/ore/0/proof"} {
		first, body := request(t, h, "GET", "/api/v1"+path, "")
		tag := first.Header.Get("ETag")
		if first.StatusCode != http.StatusOK || !strings.HasPrefix(tag, `"`) || body == "" {
			t.Fatalf("%s: %s, ETag %q", path, first.Status, tag)
		}
		for _, asked := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
			again, rest := request(t, h, "GET", "/api/v1"+path, "", "If-None-Match", asked)
			if again.StatusCode != http.StatusNotModified || rest != "" || again.Header.Get("ETag") != tag {
				t.Errorf("%s with If-None-Match %s: %s, %d bytes", path, asked, again.Status, len(rest))
			}
			if again.Header.Get("Cache-Control") != first.Header.Get("Cache-Control") {
				t.Errorf("%s: 304 says %q of caching, 200 said %q", path, again.Header.Get("Cache-Control"), first.Header.Get("Cache-Control"))
			}
		}
		other, whole := request(t, h, "GET", "/api/v1"+path, "", "If-None-Match", `"other"`)
		if other.StatusCode != http.StatusOK || whole != body {
			t.Errorf("%s with another's tag: %s", path, other.Status)
		}
	}
}

func TestATagChangesWithWhatIsShown(t *testing.T) {
	reserve := apitest.New(3, noon)
	h := handler(t, reserve)
	before, _ := request(t, h, "GET", "/api/v1/certificates", "")
	reserve.Certs++
	after, _ := request(t, h, "GET", "/api/v1/certificates", "", "If-None-Match", before.Header.Get("ETag"))
	if after.StatusCode != http.StatusOK || after.Header.Get("ETag") == before.Header.Get("ETag") {
		t.Errorf("%s under the tag of three certificates", after.Status)
	}
}

func TestOnlyArtefactsMayBeKeptForEver(t *testing.T) {
	h := handler(t, apitest.New(3, noon))
	report := apitest.NewestReport("alba")
	for path, want := range map[string]string{
		"/reports/" + report + "/envelope": "public, max-age=31536000, immutable",
		"/reports/" + report:               "no-cache", // what is checked of it is checked anew
		"/log/entries/3/proof":             "no-cache", // the checkpoint in it is the newest
		"/certificates/3":                  "no-cache", // it may be recalled
		"/overview":                        "no-cache",
	} {
		answer, _ := request(t, h, "GET", "/api/v1"+path, "")
		if got := answer.Header.Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control %q, not %q", path, got, want)
		}
	}
	if answer, _ := request(t, h, "GET", "/api/v1/wallets/member:ada", ""); answer.Header.Get("ETag") != "" {
		t.Errorf("a refusal has an entity tag")
	}
	if answer, _ := request(t, h, "GET", "/api/v1/certificates/99", "", "If-None-Match", "*"); answer.StatusCode != http.StatusNotFound {
		t.Errorf("what is not there is %s", answer.Status)
	}
}

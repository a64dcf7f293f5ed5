package meter_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"robotorq.org/reserve/robot/meter"
)

func TestDecimalTextBecomesWholeMillijoulesExactly(t *testing.T) {
	for _, c := range []struct {
		text        string
		unit        meter.Unit
		total, step uint64
	}{
		{"0", meter.WattHour, 0, 3_600_000},
		{"1834.227", meter.WattHour, 6_603_217_200, 3600},
		{"3.705", meter.KilowattHour, 13_338_000_000, 3_600_000},
		{"0.1", meter.Joule, 100, 100},
		{"0.30000000000000004", meter.Joule, 300, 1},
		{"1.5e+06", meter.Token, 1_500_000, 100_000},
		{"123456789012345.678", meter.Joule, 123_456_789_012_345_678, 1},
		{"7e-3", meter.Joule, 7, 1},
		{".5", meter.Joule, 500, 100},
		{" 12 ", meter.Token, 12, 1},
	} {
		total, step, err := meter.ParseDecimal(c.text, c.unit)
		if err != nil || total != c.total || step != c.step {
			t.Errorf("%q: %d, step %d, %v; want %d, step %d", c.text, total, step, err, c.total, c.step)
		}
	}
}

func TestWhatIsNoCountIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "-1", "NaN", "Inf", "+Inf", "1e", "1e9999", "1.2.3", "0x10", "1_000", "1e+", "--1", ".", "e5", "9e18", "5000000000000000000",
		strings.Repeat("1", 80), "1e-99999", "１",
	} {
		var fault *meter.Error
		if total, _, err := meter.ParseDecimal(text, meter.Joule); !errors.As(err, &fault) || fault.Code != meter.CodeNumber {
			t.Errorf("%q was read as %d, %v", text, total, err)
		}
	}
}

func FuzzParseDecimal(f *testing.F) {
	for _, text := range []string{"1834.227", "1.5e+06", "NaN", "-1", "1e-40", ".5", "00.0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		total, step, err := meter.ParseDecimal(text, meter.WattHour)
		if err != nil {
			return
		}
		exact, ok := new(big.Rat).SetString(strings.TrimSpace(text))
		if !ok {
			t.Fatalf("%q is no number and was read as %d", text, total)
		}
		exact.Mul(exact, new(big.Rat).SetInt64(3_600_000))
		floor := new(big.Int).Quo(exact.Num(), exact.Denom())
		if !floor.IsUint64() || floor.Uint64() != total || step == 0 {
			t.Fatalf("%q: %d, step %d, exactly %s", text, total, step, exact)
		}
	})
}

func TestAResetARolloverAndAJumpCountNothing(t *testing.T) {
	var d meter.Differ
	for i, c := range []struct {
		value, limit, delta uint64
		event               meter.Event
	}{
		{1000, 50, 0, meter.First},
		{1040, 50, 40, meter.Moved},
		{1040, 50, 0, meter.Still},
		{3, 50, 0, meter.Reset},
		{20, 50, 17, meter.Moved},
		{1 << 60, 50, 0, meter.Implausible},
		{1<<60 + 50, 50, 50, meter.Moved},
		{0, 50, 0, meter.Reset},
	} {
		if delta, event := d.Advance(c.value, c.limit); delta != c.delta || event != c.event {
			t.Errorf("step %d to %d: %d, %s; want %d, %s", i, c.value, delta, event, c.delta, c.event)
		}
	}
	d.Forget()
	if delta, event := d.Advance(100, 1000); delta != 0 || event != meter.First {
		t.Errorf("after Forget: %d, %s", delta, event)
	}
}

func TestDifferencesNeverExceedTheirLimitNorTheCounter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d meter.Differ
		var last uint64
		for i, value := range rapid.SliceOf(rapid.Uint64()).Draw(t, "values") {
			limit := rapid.Uint64().Draw(t, "limit")
			delta, event := d.Advance(value, limit)
			if delta > limit || delta > value || event == meter.Moved != (delta > 0) || i > 0 && delta > 0 && delta != value-last {
				t.Fatalf("%d after %d: %d, %s, limit %d", value, last, delta, event, limit)
			}
			last = value
		}
	})
}

// serve answers every request alike and opens a meter on it.
func serve(t *testing.T, address string, handler http.HandlerFunc) meter.Counter {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	counter, err := meter.Open(strings.Replace(address, "HOST", strings.TrimPrefix(server.URL, "http://"), 1), meter.Options{HTTP: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return counter
}

func answer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

func TestAShellyIsReadAtItsEnergyCounter(t *testing.T) {
	var asked string
	counter := serve(t, "shelly://HOST?id=1", func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.String()
		_, _ = io.WriteString(w, `{"id":1,"output":true,"apower":8.9,"aenergy":{"total":6532.104,"by_minute":[45.199,47.141,88.397],"minute_ts":1626935779},"temperature":{"tC":23.5}}`)
	})
	v, err := counter.Read(context.Background())
	if err != nil || v != (meter.Value{Total: 23_515_574_400, Step: 3600}) || asked != "/rpc/Switch.GetStatus?id=1" {
		t.Fatalf("%+v, %v, asked %s", v, err, asked)
	}
}

func TestATasmotaIsReadAtItsTotal(t *testing.T) {
	var asked string
	counter := serve(t, "tasmota://joker:pass%20word@HOST", func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query().Get("cmnd") + "/" + r.URL.Query().Get("user") + "/" + r.URL.Query().Get("password")
		_, _ = io.WriteString(w, `{"StatusSNS":{"Time":"2022-01-11T21:57:38","ENERGY":{"TotalStartTime":"2020-10-21T22:15:00","Total":3.705,"Power":5}}}`)
	})
	v, err := counter.Read(context.Background())
	if err != nil || v != (meter.Value{Total: 13_338_000_000, Step: 3_600_000}) || asked != "Status 8/joker/pass word" {
		t.Fatalf("%+v, %v, asked %s", v, err, asked)
	}
}

const page = `# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="a\"b,}"} 1.2345e+06
vllm:generation_tokens_total{engine="1",model_name="other"} 55
vllm:generation_tokens_total_created{engine="0"} 1e9
node_hwmon_energy_joule_total{chip="x"} 17.25 1700000000000
plain 12
`

func TestAPrometheusCounterIsSummedOverItsMatchingSeries(t *testing.T) {
	for address, want := range map[string]uint64{
		"prometheus://HOST/metrics?unit=tokens&metric=vllm:generation_tokens_total":                                1_234_555,
		`prometheus://HOST/metrics?unit=tokens&metric=vllm:generation_tokens_total{engine="1"}`:                    55,
		`prometheus://HOST/metrics?unit=tokens&metric=vllm:generation_tokens_total%7Bmodel_name="a%5C"b%2C%7D"%7D`: 1_234_500,
		"prometheus://HOST/metrics?unit=J&metric=node_hwmon_energy_joule_total":                                    17_250,
		"prometheus://HOST?unit=Wh&metric=plain":                                                                   43_200_000,
	} {
		v, err := serve(t, address, answer(page)).Read(context.Background())
		if err != nil || v.Total != want {
			t.Errorf("%s: %+v, %v; want %d", address, v, err, want)
		}
	}
}

func TestAnAnswerThatIsNoCounterIsAnErrorWithACode(t *testing.T) {
	for name, c := range map[string]struct {
		address string
		handler http.HandlerFunc
		code    meter.Code
	}{
		"no energy":   {"shelly://HOST", answer(`{"id":0,"output":true}`), meter.CodeAnswer},
		"null":        {"shelly://HOST", answer(`{"aenergy":{"total":null}}`), meter.CodeAnswer},
		"no json":     {"shelly://HOST", answer(`<html>`), meter.CodeAnswer},
		"negative":    {"shelly://HOST", answer(`{"aenergy":{"total":-1.5}}`), meter.CodeNumber},
		"phases":      {"tasmota://HOST", answer(`{"StatusSNS":{"ENERGY":{"Total":[1,2,3]}}}`), meter.CodeAnswer},
		"no sensor":   {"tasmota://HOST", answer(`{"StatusSNS":{"Time":"x"}}`), meter.CodeAnswer},
		"no metric":   {"prometheus://HOST?metric=a&unit=J", answer("b 1\n"), meter.CodeAnswer},
		"nan":         {"prometheus://HOST?metric=a&unit=J", answer("a NaN\n"), meter.CodeNumber},
		"server":      {"shelly://HOST", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, meter.CodeAnswer},
		"no password": {"shelly://HOST", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, meter.CodeUnauthorized},
		"warning":     {"tasmota://HOST", answer(`{"WARNING":"Need user=<username>&password=<password>"}`), meter.CodeUnauthorized},
	} {
		var fault *meter.Error
		if v, err := serve(t, c.address, c.handler).Read(context.Background()); !errors.As(err, &fault) || fault.Code != c.code {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
}

func TestAnAddressThatCannotWorkIsRefusedWithoutItsPassword(t *testing.T) {
	for _, address := range []string{
		"", "192.168.1.4", "shelly://", "mqtt://joker:geheim@broker/tele/plug/SENSOR", "modbus://joker:geheim@x", "shelly+ftp://joker:geheim@x",
		"shelly://x?id=-1", "prometheus://x", "prometheus://x?metric=a", "prometheus://joker:geheim@x?metric=a&unit=BTU", `prometheus://x?metric=a{b="c&unit=J`,
		"shelly://joker:geheim@x\x7f",
	} {
		counter, err := meter.Open(address, meter.Options{HTTP: http.DefaultClient})
		var fault *meter.Error
		if counter != nil || !errors.As(err, &fault) || fault.Code != meter.CodeAddress || fault.Retryable() {
			t.Errorf("%q: %v", address, err)
		} else if strings.Contains(err.Error(), "geheim") {
			t.Errorf("the password is in: %v", err)
		}
	}
}

func TestAMeterThatDoesNotAnswerIsUnreachableAndShowsNoPassword(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	host := strings.TrimPrefix(server.URL, "http://")
	server.Close()
	counter, err := meter.Open("tasmota://joker:geheim@"+host, meter.Options{HTTP: &http.Client{Timeout: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	var fault *meter.Error
	if _, err := counter.Read(context.Background()); !errors.As(err, &fault) || !fault.Retryable() || strings.Contains(err.Error(), "geheim") {
		t.Fatalf("%v", err)
	}
}

func TestAShellyWithAPasswordIsAnsweredByDigest(t *testing.T) {
	hash := func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }
	field := func(header, name string) string {
		_, rest, _ := strings.Cut(header, name+"=")
		value, _, _ := strings.Cut(rest, ",")
		return strings.Trim(value, `" `)
	}
	counter := serve(t, "shelly://admin:geheim@HOST", func(w http.ResponseWriter, r *http.Request) {
		given := r.Header.Get("Authorization")
		want := hash(strings.Join([]string{
			hash("admin:shellyplus1pm-08f9e0e5a3c4:geheim"), "60dc59c6", field(given, "nc"), field(given, " cnonce"), "auth", hash("GET:/rpc/Switch.GetStatus?id=0"),
		}, ":"))
		if field(given, "response") != want {
			w.Header().Set("WWW-Authenticate", `Digest qop="auth", realm="shellyplus1pm-08f9e0e5a3c4", nonce="60dc59c6", algorithm=SHA-256`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"aenergy":{"total":1}}`)
	})
	if v, err := counter.Read(context.Background()); err != nil || v.Total != 3_600_000 {
		t.Fatalf("%+v, %v", v, err)
	}
}

func FuzzPrometheusPage(f *testing.F) {
	f.Add(page)
	f.Add("a{b=\"\\\"} 1\na{ 2\na} 3\n")
	f.Fuzz(func(t *testing.T, body string) {
		counter := serve(t, `prometheus://HOST?metric=a&unit=J`, answer(body))
		if v, err := counter.Read(context.Background()); err == nil && (v.Step == 0 || v.Total >= 1<<62) {
			t.Fatalf("%+v", v)
		}
	})
}

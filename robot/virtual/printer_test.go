package virtual_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"robotorq.org/reserve/robot/virtual"
)

// manualClock moves when told to.
type manualClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// NewTimer never rings: no client of these tests is slow.
func (c *manualClock) NewTimer(time.Duration) (<-chan time.Time, func() bool) {
	return nil, func() bool { return true }
}

// NewTicker ticks in real time: notifications are not what a test times.
func (c *manualClock) NewTicker(time.Duration) (<-chan time.Time, func()) {
	t := time.NewTicker(5 * time.Millisecond)
	return t.C, t.Stop
}

func startPrinter(t *testing.T, change func(*virtual.Config)) (*virtual.Printer, *manualClock) {
	t.Helper()
	clock := &manualClock{now: time.UnixMilli(1_800_000_000_000)}
	config := virtual.Config{Name: "printer-1", Watts: 2000, TokensPerSecond: 10, Seed: 42, Clock: clock}
	if change != nil {
		change(&config)
	}
	p, err := virtual.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, clock
}

// ask sends a request and decodes the answer.
func ask(t *testing.T, method, url, body string) (int, map[string]any) {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(body, "{") {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil && response.StatusCode != http.StatusNoContent {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return response.StatusCode, answer
}

// at walks into decoded JSON by keys.
func at(answer any, keys ...string) any {
	for _, key := range keys {
		object, ok := answer.(map[string]any)
		if !ok {
			return nil
		}
		answer = object[key]
	}
	return answer
}

func TestAJobRunsThroughKlippersStatesOverHTTP(t *testing.T) {
	p, clock := startPrinter(t, nil)
	if err := p.Print("part.gcode", time.Minute); err != nil {
		t.Fatal(err)
	}
	expect := func(state string, printed float64) {
		t.Helper()
		_, answer := ask(t, "GET", p.URL()+"/printer/objects/query?print_stats&virtual_sdcard=progress,is_active&webhooks=state&nonsense", "")
		stats := at(answer, "result", "status", "print_stats")
		if at(stats, "state") != state || at(stats, "print_duration") != printed || at(answer, "result", "status", "webhooks", "state") != "ready" {
			t.Fatalf("want %s after %g s: %v", state, printed, answer)
		}
		if at(answer, "result", "status", "nonsense") != nil || at(answer, "result", "status", "virtual_sdcard", "file_size") != nil {
			t.Fatalf("more than was asked for: %v", answer)
		}
	}
	control := func(what string, want int) {
		t.Helper()
		if code, answer := ask(t, "POST", p.URL()+"/printer/print/"+what, ""); code != want || want == 200 && answer["result"] != "ok" {
			t.Fatalf("%s: %d, %v", what, code, answer)
		}
	}
	clock.pass(20 * time.Second)
	expect("printing", 20)
	control("start?filename=part.gcode", 400) // busy
	control("pause", 200)
	control("pause", 400)
	clock.pass(20 * time.Second)
	expect("paused", 20)
	control("resume", 200)
	clock.pass(39 * time.Second)
	expect("printing", 59)
	clock.pass(2 * time.Second)
	expect("complete", 60)
	control("resume", 400)
	control("start?filename=none.gcode", 400)
	control("start?filename=part.gcode", 200)
	clock.pass(time.Second)
	control("cancel", 200)
	expect("cancelled", 1)
	if err := p.Print("part.gcode", time.Minute); err != nil {
		t.Fatal(err)
	}
	p.Fail("Heater extruder not heating at expected rate")
	expect("error", 0)
}

func TestPowerIsNoisyBoundedAndTheSameForTheSameSeed(t *testing.T) {
	run := func(seed uint64, step time.Duration) (energies []uint64) {
		p, clock := startPrinter(t, func(c *virtual.Config) { c.Seed = seed })
		if err := p.Print("a.gcode", time.Hour); err != nil {
			t.Fatal(err)
		}
		before := uint64(0)
		for passed := time.Duration(0); passed < 200*time.Second; passed += step {
			clock.pass(step)
			now := p.Energy()
			if step == time.Second {
				energies = append(energies, now-before)
			} else {
				energies = []uint64{now}
			}
			before = now
		}
		return energies
	}
	first, second, other := run(1, time.Second), run(1, time.Second), run(2, time.Second)
	same, total, low, high := true, uint64(0), first[0], first[0]
	for i, e := range first {
		if e != second[i] {
			t.Fatalf("second %d: %d and %d mJ from one seed", i, e, second[i])
		}
		same = same && e == other[i]
		total, low, high = total+e, min(low, e), max(high, e)
	}
	if same {
		t.Fatal("two seeds gave the same noise")
	}
	if low < 1_500_000 || high > 1_700_000 || high-low < 100_000 || total < 200*1_580_000 || total > 200*1_620_000 {
		t.Fatalf("%d to %d mJ a second, %d in all", low, high, total)
	}
	if fine := run(1, 37*time.Millisecond); fine[0] < total || fine[0] > total+1_700_000 {
		t.Fatalf("%d mJ when looked at often, %d when seldom", fine[0], total)
	}
}

func TestARepeatingPrinterWorksOnByItself(t *testing.T) {
	p, clock := startPrinter(t, func(c *virtual.Config) { c.Repeat = true })
	if err := p.Print("a.gcode", 9*time.Second); err != nil {
		t.Fatal(err)
	}
	clock.pass(100 * time.Second)
	if worked := p.Worked(); worked != 90*time.Second {
		t.Fatalf("it worked %s of 100 s", worked)
	}
}

func TestAPlugShowsItsCounterAtItsResolution(t *testing.T) {
	p, clock := startPrinter(t, func(c *virtual.Config) { c.Step = 1000 })
	if err := p.Print("a.gcode", time.Hour); err != nil {
		t.Fatal(err)
	}
	clock.pass(time.Minute)
	_, answer := ask(t, "GET", p.URL()+"/rpc/Switch.GetStatus?id=0", "")
	total, _ := at(answer, "aenergy", "total").(float64)
	if want := float64(p.Energy() / 3_600_000); total != want || total < 20 {
		t.Fatalf("%v Wh, want %v", total, want)
	}
	if code, _ := ask(t, "GET", p.URL()+"/rpc/Switch.GetStatus?id=3", ""); code != 500 {
		t.Fatalf("switch 3: %d", code)
	}
	_, answer = ask(t, "POST", p.URL()+"/rpc", `{"id":7,"src":"x","method":"Switch.GetStatus","params":{"id":0}}`)
	if at(answer, "id") != 7.0 || at(answer, "result", "aenergy", "total") != total {
		t.Fatalf("%v", answer)
	}
	_, answer = ask(t, "GET", p.URL()+"/server/sensors/info?sensor=printer", "")
	if energy, _ := at(answer, "result", "values", "energy").(float64); energy != total/1000 {
		t.Fatalf("%v kWh in %v", energy, answer)
	}
	p.ResetMeter()
	_, answer = ask(t, "GET", p.URL()+"/rpc/Switch.GetStatus?id=0", "")
	if at(answer, "aenergy", "total") != 0.0 {
		t.Fatalf("after a reset %v", answer)
	}
}

// post uploads a file as a form.
func post(t *testing.T, url string, fields map[string]string, name, content string) (int, string, map[string]any) {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for field, value := range fields {
		if err := form.WriteField(field, value); err != nil {
			t.Fatal(err)
		}
	}
	if name != "" {
		part, err := form.CreateFormFile("file", name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(part, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(url, form.FormDataContentType(), &body)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get("Location"), answer
}

func TestAnUploadIsCheckedNamedAndPrintedForAsLongAsItsSlicerSaid(t *testing.T) {
	p, clock := startPrinter(t, nil)
	upload := p.URL() + "/server/files/upload"
	const gcode = "; generated by PrusaSlicer\nG28\n; estimated printing time (normal mode) = 1h 2m 3s\n"
	sum := sha256.Sum256([]byte(gcode))
	code, location, answer := post(t, upload, map[string]string{"checksum": hex.EncodeToString(sum[:]), "print": "true", "path": "bonds"}, "coin.gcode", gcode)
	if code != 201 || answer["print_started"] != true || at(answer, "item", "path") != "bonds/coin.gcode" || location != p.URL()+"/server/files/gcodes/bonds/coin.gcode" {
		t.Fatalf("%d %s %v", code, location, answer)
	}
	clock.pass(time.Hour + 2*time.Minute + 2*time.Second)
	if p.State() != virtual.Printing {
		t.Fatalf("%s a second before its end", p.State())
	}
	clock.pass(time.Second)
	if p.State() != virtual.Complete {
		t.Fatalf("%s at its end", p.State())
	}
	for name, c := range map[string]struct {
		fields map[string]string
		file   string
		want   int
	}{
		"wrong checksum": {map[string]string{"checksum": strings.Repeat("0", 64)}, "a.gcode", 422},
		"other root":     {map[string]string{"root": "config"}, "a.gcode", 400},
		"no file":        {nil, "", 400},
		"no job":         {nil, "a.exe", 400},
		"3mf":            {nil, "coin.3mf", 201},
		"climbing":       {map[string]string{"path": "../../etc"}, "a.gcode", 201},
	} {
		code, _, answer := post(t, upload, c.fields, c.file, "G28")
		if code != c.want || code == 201 && strings.Contains(at(answer, "item", "path").(string), "..") {
			t.Errorf("%s: %d %v", name, code, answer)
		}
	}
	_, answer = ask(t, "GET", p.URL()+"/server/files/list", "")
	if files, _ := answer["result"].([]any); len(files) != 3 {
		t.Fatalf("files: %v", answer)
	}
}

func TestTheAPIKeyOrAOneshotTokenIsWantedOnce(t *testing.T) {
	p, clock := startPrinter(t, func(c *virtual.Config) { c.APIKey = "key" })
	if code, answer := ask(t, "GET", p.URL()+"/printer/info", ""); code != 401 || at(answer, "error", "message") != "Unauthorized" {
		t.Fatalf("%d %v", code, answer)
	}
	token := func() string {
		request, _ := http.NewRequest("GET", p.URL()+"/access/oneshot_token", nil)
		request.Header.Set("X-Api-Key", "key")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var answer struct{ Result string }
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Result == "" {
			t.Fatalf("%v %v", answer, err)
		}
		return answer.Result
	}
	one := token()
	if code, _ := ask(t, "GET", p.URL()+"/printer/info?token="+one, ""); code != 200 {
		t.Fatalf("first use: %d", code)
	}
	if code, _ := ask(t, "GET", p.URL()+"/printer/info?token="+one, ""); code != 401 {
		t.Fatalf("second use: %d", code)
	}
	late := token()
	clock.pass(6 * time.Second)
	if code, _ := ask(t, "GET", p.URL()+"/printer/info?token="+late, ""); code != 401 {
		t.Fatalf("after six seconds: %d", code)
	}
	if code, _ := ask(t, "GET", p.URL()+"/rpc/Switch.GetStatus?id=0", ""); code != 200 {
		t.Fatalf("the plug: %d", code)
	}
}

// socket is a raw JSON-RPC connection.
type socket struct {
	t    *testing.T
	conn *websocket.Conn
}

func connect(t *testing.T, p *virtual.Printer) *socket {
	t.Helper()
	conn, _, err := websocket.Dial(context.Background(), "ws"+p.URL()[4:]+"/websocket", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &socket{t: t, conn: conn}
}

func (s *socket) read() map[string]any {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, content, err := s.conn.Read(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	var frame map[string]any
	if err := json.Unmarshal(content, &frame); err != nil {
		s.t.Fatal(err)
	}
	return frame
}

func (s *socket) send(frame string) {
	s.t.Helper()
	if err := s.conn.Write(context.Background(), websocket.MessageText, []byte(frame)); err != nil {
		s.t.Fatal(err)
	}
}

func TestJSONRPCOverTheWebsocketIdentifiesSubscribesAndNotifies(t *testing.T) {
	p, clock := startPrinter(t, func(c *virtual.Config) { c.APIKey = "key" })
	s := connect(t, p)
	for _, c := range []struct {
		frame string
		code  float64
	}{
		{`{"jsonrpc":"2.0","method":"server.info","id":1}`, -32602},
		{`{"jsonrpc":"2.0","method":"server.connection.identify","params":{"client_name":"a","version":"1","type":"agent","url":"u","api_key":"wrong"},"id":2}`, -32602},
		{`{"jsonrpc":"2.0","method":"server.connection.identify","params":{"client_name":"a","version":"1","type":"robot","url":"u","api_key":"key"},"id":3}`, 400},
		{`{"jsonrpc":"2.0","method":"server.connection.identify","params":{"client_name":"a","version":"1","type":"agent","url":"u","api_key":"key"},"id":4}`, 0},
		{`{"jsonrpc":"2.0","method":"server.connection.identify","params":{"client_name":"a","version":"1","type":"agent","url":"u"},"id":5}`, 400},
		{`{"jsonrpc":"2.0","method":"no.such","id":6}`, -32601},
		{`{"jsonrpc":"1.0","method":"server.info","id":7}`, -32600},
		{`not json`, -32700},
		{`{"jsonrpc":"2.0","method":"server.info","id":8}`, 0},
		{`{"jsonrpc":"2.0","method":"printer.print.start","params":{},"id":9}`, 400},
	} {
		s.send(c.frame)
		code, _ := at(s.read(), "error", "code").(float64)
		if code != c.code {
			t.Errorf("%s: code %v, want %v", c.frame, code, c.code)
		}
	}
	s.send(`{"jsonrpc":"2.0","method":"printer.objects.subscribe","params":{"objects":{"print_stats":["state","filename"],"webhooks":null}},"id":"ten"}`)
	frame := s.read()
	if frame["id"] != "ten" || at(frame, "result", "status", "print_stats", "state") != "standby" {
		t.Fatalf("%v", frame)
	}
	if err := p.Print("a.gcode", time.Minute); err != nil {
		t.Fatal(err)
	}
	clock.pass(time.Second)
	frame = s.read()
	params, _ := frame["params"].([]any)
	if frame["method"] != "notify_status_update" || len(params) != 2 || at(params[0], "print_stats", "state") != "printing" ||
		at(params[0], "print_stats", "filename") != "a.gcode" || at(params[0], "webhooks") != nil {
		t.Fatalf("%v", frame)
	}
}

func TestJSONRPCOverHTTPAnswersAsOverTheWebsocket(t *testing.T) {
	p, _ := startPrinter(t, nil)
	_, answer := ask(t, "POST", p.URL()+"/server/jsonrpc", `{"jsonrpc":"2.0","method":"printer.objects.query","params":{"objects":{"toolhead":["homed_axes"]}},"id":1}`)
	if at(answer, "result", "status", "toolhead", "homed_axes") != "xyz" {
		t.Fatalf("%v", answer)
	}
	_, answer = ask(t, "POST", p.URL()+"/server/jsonrpc", `{"jsonrpc":"2.0","method":"printer.objects.subscribe","params":{"objects":{}},"id":1}`)
	if at(answer, "error", "code") != -32601.0 {
		t.Fatalf("subscribing without a connection: %v", answer)
	}
	_, answer = ask(t, "GET", p.URL()+"/printer/objects/list", "")
	if objects, _ := at(answer, "result", "objects").([]any); len(objects) < 4 {
		t.Fatalf("%v", answer)
	}
}

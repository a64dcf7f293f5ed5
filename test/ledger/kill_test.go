//go:build whole

package ledger_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"robotorq.org/reserve/bench"
	"robotorq.org/reserve/ledger"
	"robotorq.org/reserve/seal"
	"robotorq.org/reserve/store"
	"robotorq.org/reserve/store/storetest"
	"robotorq.org/reserve/torq"
)

// childEnv holds "place round origin keyfile" of a child process.
const childEnv = "ROBOTORQ_LEDGER_CHILD"

// child is a vault under load that writes "sent <payload>" of every order before it is
// sent, and then "refused <payload>" or "<payload> <seq> <hash> <receipt>", until it is
// killed.
func child() int {
	fields := strings.Fields(os.Getenv(childEnv))
	if err := serve(fields[0], fields[1], fields[2], fields[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serve(place, round, origin, keys string) error {
	var number uint64
	if _, err := fmt.Sscan(round, &number); err != nil {
		return err
	}
	signer, err := seal.ReadKeyFile(keys, "")
	if err != nil {
		return err
	}
	db, err := open(place, store.Options{})
	if err != nil {
		return err
	}
	_, at, err := whereabouts(db)
	if err != nil {
		return err
	}
	clock := newClock(at)
	reserve := &bench.Reserve{Profile: torq.Standard(), Origin: origin, Vault: signer}
	station, err := reserve.Open(context.Background(), db, clock)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- station.Run(context.Background()) }()
	var mu sync.Mutex
	write := func(line []byte) {
		mu.Lock()
		defer mu.Unlock()
		os.Stdout.Write(line)
	}
	c := crowd{
		reserve: reserve, station: station, clock: clock, round: number,
		sending: func(env seal.Envelope) { write(fmt.Appendf(nil, "sent %x\n", env.Payload)) },
		told: func(a ack) {
			write(fmt.Appendf(nil, "%x %d %s %x\n", a.env.Payload, a.posting.Seq, a.posting.Hash, a.receipt))
		},
		refused: func(env seal.Envelope) { write(fmt.Appendf(nil, "refused %x\n", env.Payload)) },
		failed:  func(error) bool { return false },
	}
	c.orders(context.Background())
	return <-ended
}

func TestAVaultThatIsKilledKeepsEveryAcknowledgedOrderOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		random := seeds(t)
		w := newWorld(t, e.Place(t), store.Options{})
		keys := filepath.Join(t.TempDir(), "vault.json")
		must(t, seal.WriteKeyFile(keys, "", w.reserve.Vault))
		total := 0
		for round := range rounds(t, 8) {
			after := time.Duration(50+random.IntN(700)) * time.Millisecond
			total += w.kill(round+1, keys, after)
			w.check(store.Options{})
		}
		t.Logf("%d orders acknowledged; %d that got no answer were posted when they were sent again", total, w.resent)
		if total == 0 {
			t.Error("no order was ever acknowledged")
		}
	})
}

// kill runs a child, kills it some time after its first acknowledgement, and remembers what
// it had acknowledged.
func (w *world) kill(round int, keys string, after time.Duration) int {
	w.t.Helper()
	c := exec.Command(os.Args[0], "-test.run=none")
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s %s", childEnv, w.place, round, w.reserve.Origin, keys))
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.StdoutPipe()
	must(w.t, err)
	must(w.t, c.Start())
	first := make(chan struct{})
	go func() {
		select {
		case <-first:
			time.Sleep(after)
		case <-time.After(time.Minute):
		}
		c.Process.Kill()
	}()
	n := 0
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		word, payload, _ := strings.Cut(lines.Text(), " ")
		if word == "sent" || word == "refused" {
			w.note(payload, word == "sent")
			continue
		}
		a, whole := parse(lines.Text())
		if !whole {
			break // the kill came between two of its bytes
		}
		if n++; n == 1 {
			close(first)
		}
		w.remember(a)
	}
	c.Wait()
	return n
}

// note remembers that an order was sent, or forgets one that was refused; what a kill cut
// off is no order.
func (w *world) note(payload string, sent bool) {
	raw, err := hex.DecodeString(payload)
	if err != nil {
		return
	}
	env := seal.Envelope{PayloadType: ledger.TypeOrder, Payload: raw}
	o, err := ledger.OrderFrom(env)
	switch {
	case err != nil:
	case sent:
		w.waiting[o.Key()] = env
	default:
		delete(w.waiting, o.Key())
	}
}

func parse(line string) (a ack, whole bool) {
	fields := strings.Split(line, " ")
	if len(fields) != 4 {
		return ack{}, false
	}
	payload, err := hex.DecodeString(fields[0])
	if err != nil {
		return ack{}, false
	}
	a.env = seal.Envelope{PayloadType: ledger.TypeOrder, Payload: payload}
	_, err1 := fmt.Sscan(fields[1], &a.posting.Seq)
	hash, err2 := digest(fields[2])
	receipt, err3 := hex.DecodeString(fields[3])
	a.posting.Hash = hash
	if len(receipt) > 0 {
		a.receipt = receipt
	}
	return a, err1 == nil && err2 == nil && err3 == nil
}

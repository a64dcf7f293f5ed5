package node

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"robotorq.org/reserve/api"
	"robotorq.org/reserve/torq"
)

// From when on the operator is told.
const (
	keySoon      = 60 * 24 * time.Hour
	keyNow       = 7 * 24 * time.Hour
	tokenSoon    = 3 * 24 * time.Hour
	tokenLong    = 7 * 24 * time.Hour // validity of a token of which it is told that it ends
	backupFirst  = 24 * time.Hour     // after the founding
	backupOld    = 7 * 24 * time.Hour
	statementOld = 25 * time.Hour // one is made every day, with its first postings
	settled      = time.Hour      // of uptime, after which what is late is not on its way
	lagMany      = 1000           // messages
	diskLow      = 2 << 30        // bytes
	diskDays     = 30
	diskFewDays  = 3
	slowCommit   = time.Second
	manyCommits  = 100
)

// backing is what certificates back, in JT.
func backing(certificates, ore uint64) torq.JT { return torq.JT(certificates * ore) }

// inspection collects findings.
type inspection struct {
	o   *api.Operator
	all []api.Finding
}

func (x *inspection) find(level, about, do, says string, args ...any) {
	x.all = append(x.all, api.Finding{Level: level, About: about, Says: fmt.Sprintf(says, args...), Do: do})
}

// findings says what needs somebody, worst first. It looks at nothing but the figures.
func findings(o *api.Operator, notReady error) []api.Finding {
	x := &inspection{o: o}
	for _, look := range []func(){x.stopped, x.links, x.witnesses, x.disk, x.solvency, x.keys, x.backups, x.tokens, x.latencies} {
		look()
	}
	slices.SortStableFunc(x.all, func(a, b api.Finding) int { return cmp.Compare(a.Level, b.Level) }) // fault, warning
	if notReady != nil && (len(x.all) == 0 || x.all[0].Level != api.LevelFault) {
		x.all = slices.Insert(x.all, 0, api.Finding{
			Level: api.LevelFault, About: "ready", Says: "The node is not ready: " + notReady.Error() + ".",
			Do: "Its log says more. If it lasts for minutes, stop the node and start it again: nothing is lost by a stop.",
		})
	}
	return x.all
}

func (x *inspection) stopped() {
	for _, s := range x.o.Stopped {
		x.find(api.LevelFault, "stopped", fmt.Sprintf("Keep copies of the databases (robotorq backup), find out why with robotorq verify, then stop the node and start it with --resume %s.", s.Producer),
			"%s is stopped, because what it sent broke the rule %s. Nothing of it is taken until you have looked.", s.Producer, s.Rule)
	}
}

func (x *inspection) links() {
	for _, box := range x.o.Outboxes {
		for _, l := range box.Links {
			if l.Refusal != "" {
				x.find(api.LevelFault, "link", "Keep copies of the databases, and look for both names in the log: it says which rule was broken and by what.",
					"%s refused what %s sent: %s.", l.Consumer, box.Producer, l.Refusal)
			}
			if l.Lag > lagMany {
				x.find(api.LevelWarning, "link", fmt.Sprintf("Compare the times of %s to verify and to commit, below. If its mark does not move, the log says why.", l.Consumer),
					"%s is %d messages behind %s.", l.Consumer, l.Lag, box.Producer)
			}
		}
	}
}

func (x *inspection) witnesses() {
	for _, w := range x.o.Witnesses.List {
		switch {
		case w.State == "contradicts":
			x.find(api.LevelFault, "witness", "Stop the node, and compare the two checkpoints: this data directory may be an older copy. docs/auditing.md tells how.",
				"Witness %s has cosigned another history of this log.", w.Name)
		case w.State == "behind" && x.o.Witnesses.Required:
			x.find(api.LevelFault, "witness", "Ask who runs it. The mint waits while the quorum is missing; without --require-witnesses it goes on.",
				"Witness %s does not cosign: %s.", w.Name, w.LastFailure)
		case w.State == "behind":
			x.find(api.LevelWarning, "witness", "Ask who runs it. Checkpoints are published without it meanwhile, and it is asked again by itself.",
				"Witness %s does not cosign: %s.", w.Name, w.LastFailure)
		}
	}
}

func (x *inspection) disk() {
	d := x.o.Disk
	const room = "Make room or add disk. robotorq proof prune takes away the reports of old certificates, which stay verifiable."
	known := d.DaysLeft >= 0 && d.Over >= settled.Milliseconds()
	switch {
	case d.Free < leastDisk:
		x.find(api.LevelFault, "disk", room, "%d MiB are left on the disk of %s: the node is not ready.", d.Free>>20, x.o.Data)
	case known && d.DaysLeft < diskFewDays:
		x.find(api.LevelFault, "disk", room, "The disk of %s is full in %d days.", x.o.Data, d.DaysLeft)
	case d.Free < diskLow:
		x.find(api.LevelWarning, "disk", room, "%d MiB are left on the disk of %s.", d.Free>>20, x.o.Data)
	case known && d.DaysLeft < diskDays:
		x.find(api.LevelWarning, "disk", room, "The disk of %s is full in %d days.", x.o.Data, d.DaysLeft)
	}
}

func (x *inspection) solvency() {
	s := x.o.Solvency
	if s.Supply != s.Backed {
		x.find(api.LevelFault, "solvency", "Run robotorq audit: it names the first thing that is wrong. For a moment after a certificate was minted this is nothing.",
			"Supply is %s and certificates back %s.", s.Supply.RT(), s.Backed.RT())
	}
	up, age := x.o.Now-x.o.Started, x.o.Now-s.Issued
	if up > settled.Milliseconds() && s.Supply > 0 && x.o.Founded > 0 && x.o.Now-x.o.Founded > statementOld.Milliseconds() && age > statementOld.Milliseconds() {
		x.find(api.LevelWarning, "solvency", "Look for the vault in the log; without statements members cannot check that they are counted.",
			"There is no statement of solvency of today.")
	}
}

func (x *inspection) keys() {
	if x.o.RootHere && !x.o.Demo {
		x.find(api.LevelWarning, "key", "Move root/ off this machine, to two safe places. Only a change of keys, policy or witnesses needs it.", "The root key lies on this machine.")
	}
	type slot struct{ role, name, alg string }
	lasts := map[slot]int64{} // the latest end; -1: open
	open := map[slot]bool{}   // whether any name of a role has an open key
	for _, k := range x.o.Keys {
		of := slot{k.Role, k.Name, k.Alg}
		open[slot{role: k.Role, alg: k.Alg}] = open[slot{role: k.Role, alg: k.Alg}] || k.Ends == 0
		if k.Ends == 0 || lasts[of] == -1 {
			lasts[of] = -1
		} else {
			lasts[of] = max(lasts[of], k.Ends)
		}
	}
	for _, k := range x.o.Keys {
		if k.Ends == 0 || lasts[slot{k.Role, k.Name, k.Alg}] != k.Ends || k.Left > keySoon.Milliseconds() {
			continue // open, followed by another, or far
		}
		if k.Left <= 0 && k.Role != "robot" && open[slot{role: k.Role, alg: k.Alg}] {
			continue // ended for good; others do its work
		}
		level, when := api.LevelWarning, "ends in "+days(k.Left)
		if k.Left < keyNow.Milliseconds() {
			level = api.LevelFault
		}
		if k.Left <= 0 {
			when = "ended " + days(-k.Left) + " ago"
		}
		what := fmt.Sprintf("The %s key of %s %s", k.Alg, k.Role, k.Name)
		if k.Role == "tls" {
			what = "The certificate of " + k.Name
		}
		x.find(level, "key", x.remedyOfKey(k.Role), "%s %s.", what, when)
	}
}

func (x *inspection) remedyOfKey(role string) string {
	switch role {
	case "tls":
		return "Renew it: the new files are read by themselves, without a restart."
	case "robot":
		return "Its owner gives it a new key before then; what it signs later is refused. See robotorq robot --help."
	case "witness":
		return "Ask who runs it for its new key, put it into the policy file, and start once with the root key at hand (--witness-policy)."
	case "root":
		return "Without a root key nothing can be changed any more: make another before then (robotorq charter root), and have this one sign a charter that adds it (robotorq charter next --add-root)."
	}
	return fmt.Sprintf("Renew it: robotorq charter next --renew %s --data %s, beside the running node, signed with the root key; then stop the node, robotorq charter adopt --data %s, and start it again. What is signed after its end does not count.", role, x.o.Data, x.o.Data)
}

func (x *inspection) backups() {
	do := "Run robotorq backup NEWDIR --data " + x.o.Data + ", beside the running node, and keep the copy on another machine."
	switch {
	case x.o.Demo || x.o.Founded == 0:
	case len(x.o.Backups) == 0 && x.o.Now-x.o.Founded > backupFirst.Milliseconds():
		x.find(api.LevelWarning, "backup", do, "No backup of this data directory is known.")
	case len(x.o.Backups) > 0 && x.o.Now-x.o.Backups[0].Taken > backupOld.Milliseconds():
		x.find(api.LevelWarning, "backup", do, "The last backup is %s old.", days(x.o.Now-x.o.Backups[0].Taken))
	}
}

func (x *inspection) tokens() {
	for _, t := range x.o.Tokens {
		short := t.Expires-t.Created < tokenLong.Milliseconds() // made for an errand
		if left := t.Expires - x.o.Now; t.State == "valid" && left < tokenSoon.Milliseconds() && !short {
			x.find(api.LevelWarning, "token", fmt.Sprintf("If it is still needed: robotorq tokens new %s --role %s", t.Name, t.Role), "The token of %s, role %s, ends in %s.", t.Name, t.Role, days(left))
		}
	}
}

func (x *inspection) latencies() {
	for _, l := range x.o.Latencies {
		if l.What == "commit" && l.Count >= manyCommits && (l.P99 < 0 || l.P99 > slowCommit.Microseconds()) {
			x.find(api.LevelWarning, "latency", "The disk is slow or shared: see what else writes there. Books want a disk that syncs within milliseconds.",
				"One in a hundred commits of %s takes longer than a second.", l.Where)
		}
	}
}

// days is a length of time for people.
func days(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

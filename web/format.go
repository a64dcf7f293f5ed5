package web

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"

	"robotorq.org/reserve/torq"
)

func functions() template.FuncMap {
	return template.FuncMap{
		"n": number, "rt": rtHTML, "when": whenHTML, "span": durationText,
		"short": shortHash, "hash": hashHTML, "share": share, "energy": energyText,
		"rule": ruleText, "remedy": remedyText, "bytes": bytesText, "class": className, "factor": factor, "plural": plural, "inc": func(n uint64) uint64 { return n + 1 },
		"rosette": rosette, "mark": smallRosette, "list": func(items ...any) []any { return items },
		"until": untilText, "percent": percentText, "prose": prose, "share1000": func(part, whole uint64) uint64 { return mulDiv(min(part, whole), 1000, max(whole, 1)) },
		"runname": runName, "charterChange": charterChange, "rtbare": rtBare, "lasted": func(start, end int64) string { return durationText(end - start) },
		"melt": meltLevel, "stack": stack, "sats": sats, "ago": agoText, "lasting": lasting, "spaced": spaced,
	}
}

// number groups digits by thousands: 3,600,000.
func number(value any) string {
	text := fmt.Sprint(value)
	if jt, ok := value.(torq.JT); ok {
		text = strconv.FormatInt(int64(jt), 10)
	}
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "−", text[1:]
	}
	return sign + groupDigits(text)
}

func groupDigits(digits string) string {
	if len(digits) <= 3 {
		return digits
	}
	return groupDigits(digits[:len(digits)-3]) + "," + digits[len(digits)-3:]
}

// rtText is an amount in RT for titles and labels.
func rtText(jt torq.JT) string { return strings.Replace(jt.RTGrouped(), "-", "−", 1) }

// rtHTML sets the decimals of an amount smaller; the exact JT is its title.
func rtHTML(jt torq.JT) template.HTML {
	whole, decimals, _ := strings.Cut(strings.TrimSuffix(rtText(jt), " RT"), ".")
	return template.HTML(`<span class="rt" title="` + number(jt) + ` JT">` + whole +
		`<span class="dec">.` + decimals + `</span>&#8239;<abbr title="RoboTorq">RT</abbr></span>`)
}

// movedHTML is an amount in RT, or in JT where five decimals would show nothing of it.
func movedHTML(jt torq.JT) template.HTML {
	if jt != 0 && strings.Trim(rtText(jt), "−-0. RT") == "" {
		return template.HTML(number(jt) + ` JT`)
	}
	return rtHTML(jt)
}

// rtBare is an amount in RT without its unit, for tables that name it in their head.
func rtBare(jt torq.JT) string { return strings.TrimSuffix(rtText(jt), " RT") }

// whenHTML is a time in UTC; the script shows it where the reader is.
func whenHTML(ms int64) template.HTML {
	if ms == 0 {
		return `<span class="none">–</span>`
	}
	t := time.UnixMilli(ms).UTC()
	return template.HTML(`<time datetime="` + t.Format("2006-01-02T15:04:05.000Z") + `">` + t.Format("2 Jan 2006, 15:04:05") + ` UTC</time>`)
}

// durationText is a length of time in the largest units that matter.
func durationText(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d <= 0:
		return "0 s"
	case d < time.Minute:
		return tenth(uint64(d/(100*time.Millisecond))) + " s"
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d d %d h", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// untilText is the time from now to a time to come.
func untilText(now, ms int64) string {
	if ms <= now {
		return "now"
	}
	if left := (ms - now) / 1000; left < 60 {
		return fmt.Sprintf("in %d s", left)
	}
	return "in " + durationText(ms-now)
}

// tenth prints a count of tenths with one decimal, grouped.
func tenth(tenths uint64) string { return number(tenths/10) + "." + strconv.FormatUint(tenths%10, 10) }

// share is part of whole in per cent with one decimal, cut.
func share(part, whole any) string {
	p, w := asUint(part), asUint(whole)
	if w == 0 {
		return "0.0 %"
	}
	return tenth(mulDiv(p, 1000, w)) + " %"
}

// factor is a/b with two decimals, cut; "–" when b is 0.
func factor(a uint64, b torq.JT) string {
	if b <= 0 {
		return "–"
	}
	hundredths := mulDiv(a, 100, uint64(b))
	return fmt.Sprintf("%s.%02d", number(hundredths/100), hundredths%100)
}

// energyText prints millijoules in joules, or kilojoules when large.
func energyText(mj uint64) string {
	if mj >= 10_000_000 {
		return tenth(mj/100_000) + " kJ"
	}
	return tenth(mj/100) + " J"
}

func shortHash(hash string) string {
	const head, tail = 8, 6
	if len(hash) <= head+tail {
		return hash
	}
	return hash[:head] + "…" + hash[len(hash)-tail:]
}

// hashHTML is a digest that may be broken at any eighth digit.
func hashHTML(hash string) template.HTML {
	var b strings.Builder
	b.WriteString(`<code class="hash">`)
	for i := 0; i < len(hash); i += 8 {
		if i > 0 {
			b.WriteString("<wbr>")
		}
		b.WriteString(template.HTMLEscapeString(hash[i:min(i+8, len(hash))]))
	}
	b.WriteString(`</code>`)
	return template.HTML(b.String())
}

func plural(n any, one, many string) string {
	if asUint(n) == 1 {
		return one
	}
	return many
}

func asUint(value any) uint64 {
	switch v := value.(type) {
	case torq.JT:
		return uint64(max(v, 0))
	case int64:
		return uint64(max(v, 0))
	case int:
		return uint64(max(v, 0))
	case uint64:
		return v
	}
	return 0
}

// ruleText says in words what a rule of the specification asks.
func ruleText(rule string) string {
	texts := map[string]string{
		"work_complete":    "the contract's work was done before",
		"key_validity":     "signed by a key that was not valid then",
		"not_assigned":     "the robot has no part in that contract",
		"contract_closed":  "the contract was closed",
		"before_funded":    "work from before the contract was funded",
		"after_deadline":   "work from after the contract's deadline",
		"rating_energy":    "more energy than the robot's rating allows",
		"rating_tokens":    "more tokens than the robot's bond allows",
		"reading_overlap":  "a reading overlaps one before it",
		"time_order":       "a reading ends after its batch was sealed",
		"report_age":       "the report came too late",
		"too_short":        "the report is too short and carries too little",
		"bad_signature":    "a signature does not verify",
		"malformed":        "the artefact cannot be read",
		"fork":             "a second report with the same number",
		"gap":              "reports before it are missing",
		"unknown_robot":    "no robot of that name is enrolled",
		"unknown_contract": "there is no such contract",
	}
	return texts[rule]
}

// className says in words what a class of accounts is.
func className(class string) string {
	names := map[string]string{
		"wallets":         "Wallets",
		"savings":         "Savings",
		"leaving":         "Savings under notice",
		"bonds":           "Bearer bonds",
		"stake.available": "Stake, available",
		"stake.deployed":  "Stake, deployed",
		"stake.invested":  "Stake, invested by members",
		"stake.returns":   "Returns of investors",
		"deposit":         "Deposits",
		"disto":           "Dividend, not yet released",
		"demurrage":       "Demurrage, not yet split",
	}
	if name, ok := names[class]; ok {
		return name
	}
	return class
}

// percentText writes a rate, "0.06", in per cent, "6 %".
func percentText(rate string) string {
	whole, decimals, _ := strings.Cut(rate, ".")
	for len(decimals) < 2 {
		decimals += "0"
	}
	whole = strings.TrimLeft(whole+decimals[:2], "0")
	if whole == "" {
		whole = "0"
	}
	if rest := strings.TrimRight(decimals[2:], "0"); rest != "" {
		whole += "." + rest
	}
	return whole + " %"
}

// prose sets what stands between backticks as code.
func prose(text string) template.HTML {
	var b strings.Builder
	for i, piece := range strings.Split(text, "`") {
		piece = template.HTMLEscapeString(piece)
		if i%2 == 1 {
			piece = "<code>" + piece + "</code>"
		}
		b.WriteString(piece)
	}
	return template.HTML(b.String())
}

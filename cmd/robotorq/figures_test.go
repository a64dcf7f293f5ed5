package main

import (
	"testing"

	"robotorq.org/reserve/torq"
)

func TestAnAmountThatFiveDecimalsWouldHideIsShownInJT(t *testing.T) {
	for amount, want := range map[torq.JT]string{0: "0.00000 RT", -9: "-9 JT", 35: "35 JT", 36: "0.00001 RT", -3_600_000: "-1.00000 RT"} {
		if got := visible(amount); got != want {
			t.Errorf("%d JT is shown as %q, want %q", amount, got, want)
		}
	}
}

func TestTheFiguresOfThePolicyAreReadInDaysAndRT(t *testing.T) {
	for _, figure := range [][3]string{
		{"savings_notice", "2592000000", "30 days"}, {"closing_notice", "60000", "1 minute"}, {"closing_notice", "90000", "90 seconds"},
		{"notice", "1500", "1,500 milliseconds"}, {"stake_target", "3600000000", "1,000.00000 RT"}, {"deposit", "0.05", ""}, {"max_watts", "20000", ""},
	} {
		if got := figureRead(figure[0], figure[1]); got != figure[2] {
			t.Errorf("%s %s is read %q, want %q", figure[0], figure[1], got, figure[2])
		}
	}
}

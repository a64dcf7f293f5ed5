package web

// remedyText says what the operator, or the owner of the robot, does about reports that
// break a rule.
func remedyText(rule string) string {
	return map[string]string{
		"work_complete":    "Nothing is wrong: end the contract, or agree on the next one.",
		"key_validity":     "The robot's owner enrols it with a new key; reports that the old one signed after its end do not count.",
		"not_assigned":     "Its agent works under a contract in which the robot has no part: give it the right number.",
		"contract_closed":  "Its agent works under a contract that has ended: give it another.",
		"before_funded":    "The robot began before the contract was funded; later readings count by themselves.",
		"after_deadline":   "Agree on a next contract: what comes after the deadline never counts.",
		"rating_energy":    "Measure the machine: either its meter is wrong, or its rating has to be enrolled anew.",
		"rating_tokens":    "Compare with the owner what the robot consumes; a higher rate wants a higher bond.",
		"reading_overlap":  "Two agents may run for one robot, or its clock was set back: stop one, and let the machine keep its time.",
		"time_order":       "Its clock goes ahead: let chrony or systemd-timesyncd keep it.",
		"report_age":       "The robot was offline for too long, or its clock is behind. What is that old is lost.",
		"too_short":        "Let its agent gather longer before it reports.",
		"bad_signature":    "Somebody speaks in the robot's name, or its key file is damaged. If it goes on, ask its owner, who gives it a new key.",
		"malformed":        "Something that is not an agent of this version sends: look where it comes from.",
		"fork":             "Two spools exist of one robot: stop the copy. A robot that was restored from an old copy has to be enrolled anew.",
		"gap":              "Reports before it are missing: its agent sends them again by itself. If it does not, its spool is damaged.",
		"unknown_robot":    "Enrol the robot first, or tell its agent the right name.",
		"unknown_contract": "Its agent names a contract that is not here: give it the right number.",
	}[rule]
}

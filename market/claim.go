package market

// Registration is what a robot says about itself, under its signature.
type Registration struct {
	AgentID       string   `json:"agentId"`
	PayoutAddress string   `json:"payoutAddress"`
	Capabilities  []string `json:"capabilities"`
	RobotKind     string   `json:"robotKind"`
	PublicKey     []byte   `json:"publicKey"`
}

// Register enters a robot, or changes what is known of it. The id belongs to the key of the
// first registration; another key is refused. A new payout address counts after a cool-down,
// so that a stolen key cannot quickly take what was earned.
func (m Machine) Register(b Books, r Registration, now int64) (Agent, error) {
	var f Faults
	checkID(&f, "agentId", r.AgentID)
	checkTags(&f, "capabilities", r.Capabilities)
	checkText(&f, "robotKind", r.RobotKind, 1, 100)
	if len(r.PublicKey) != 32 {
		f.Add("publicKey", "must be the 32 bytes of an Ed25519 key in base64")
	}
	canonical, err := m.address(r.PayoutAddress)
	if r.PayoutAddress != "" && err != nil {
		f.Add("payoutAddress", "%s", err)
	}
	if err := f.Err(CodeInvalid); err != nil {
		return Agent{}, err
	}
	if r.PayoutAddress == "" {
		return Agent{}, &Error{Code: CodePayoutAddressRequired, Detail: "A robot is paid on chain: register with a payoutAddress.", Faults: []string{"payoutAddress: is required"}}
	}
	a, known, err := b.Agent(r.AgentID)
	if err != nil {
		return a, err
	}
	if known && string(a.PublicKey) != string(r.PublicKey) {
		return a, Refuse(CodeNotYourAgent, "Agent %s belongs to another key.", r.AgentID)
	}
	if !known {
		a = Agent{AgentID: r.AgentID, PublicKey: r.PublicKey, PayoutAddress: canonical, RegisteredAtMs: now, Admitted: !m.Policy.Admission}
	}
	a.PayoutAddress = a.AddressAt(now)
	if now >= a.NewAddressAtMs {
		a.NewAddress, a.NewAddressAtMs = "", 0
	}
	switch canonical {
	case a.PayoutAddress:
		a.NewAddress, a.NewAddressAtMs = "", 0
	case a.NewAddress: // asked for again: the cool-down goes on
	default:
		a.NewAddress, a.NewAddressAtMs = canonical, now+m.Policy.AddressCoolDownMs
	}
	a.Capabilities, a.RobotKind, a.LastSeenMs = r.Capabilities, r.RobotKind, now
	return a, b.PutAgent(a)
}

// Heartbeat says that a robot is there, and what it can do now if capabilities is not nil.
func (m Machine) Heartbeat(b Books, agentID string, capabilities []string, now int64) (Agent, error) {
	var f Faults
	checkID(&f, "agentId", agentID)
	checkTags(&f, "capabilities", capabilities)
	if err := f.Err(CodeInvalid); err != nil {
		return Agent{}, err
	}
	a, ok, err := b.Agent(agentID)
	if err != nil {
		return a, err
	}
	if !ok {
		return a, Refuse(CodeAgentNotRegistered, "Agent %s is not registered.", agentID)
	}
	a.LastSeenMs = max(a.LastSeenMs, now)
	if capabilities != nil {
		a.Capabilities = capabilities
	}
	return a, b.PutAgent(a)
}

// Admit lets a robot take part, or no longer, where the operator asks for admission.
func (m Machine) Admit(b Books, agentID string, admitted bool) (Agent, error) {
	a, ok, err := b.Agent(agentID)
	if err != nil {
		return a, err
	}
	if !ok {
		return a, Refuse(CodeAgentNotFound, "There is no agent %s.", agentID)
	}
	a.Admitted = admitted
	return a, b.PutAgent(a)
}

// Claim gives a funded task to a robot. The first valid claim wins. A held payment is captured
// next: the claim is good when [Machine.Paid] has seen it settled.
func (m Machine) Claim(b Books, taskID, agentID string, now int64) (Task, error) {
	t, err := task(b, taskID)
	if err != nil {
		return t, err
	}
	if t.Status != Funded || now >= t.OpenUntilMs {
		return t, Refuse(CodeTaskNotClaimable, "Task %s is %s.", t.TaskID, t.Status)
	}
	if err := m.mayClaim(b, t, agentID, now); err != nil {
		return t, err
	}
	if err := move(&t, Claimed, now); err != nil {
		return t, err
	}
	t.ClaimedBy, t.ClaimedAtMs, t.DeadlineMs = agentID, now, now+t.TimeoutMs
	if t.EscrowState == EscrowHeld {
		t.EscrowState = EscrowCapturing
	}
	return t, b.PutTask(t)
}

// mayClaim checks the agent, then its capabilities.
func (m Machine) mayClaim(b Books, t Task, agentID string, now int64) error {
	a, ok, err := b.Agent(agentID)
	if err != nil {
		return err
	}
	if !ok {
		return Refuse(CodeAgentNotRegistered, "Agent %s is not registered.", agentID)
	}
	if refused := m.ready(a, now); refused != nil {
		return refused
	}
	active, err := b.ActiveClaims(agentID)
	if err != nil {
		return err
	}
	if active >= m.Policy.MaxActiveClaims {
		return Refuse(CodeTooManyClaims, "Agent %s has %d tasks claimed; at most %d at once.", agentID, active, m.Policy.MaxActiveClaims)
	}
	if !a.holds(t.ResourceRequirements) {
		return Refuse(CodeCapabilityMismatch, "The task needs %v, agent %s has %v.", t.ResourceRequirements, agentID, a.Capabilities)
	}
	return nil
}

// ready tells why an agent may not claim anything now, or nil.
func (m Machine) ready(a Agent, now int64) *Error {
	switch {
	case !a.Admitted:
		return Refuse(CodeAgentNotAdmitted, "Agent %s waits for the operator's admission.", a.AgentID)
	case a.PayoutAddress == "":
		return Refuse(CodePayoutAddressRequired, "Agent %s has no payout address.", a.AgentID)
	case now-a.LastSeenMs > m.Policy.HeartbeatMaxAgeMs:
		return Refuse(CodeAgentNotSeen, "Agent %s was last seen %d ms ago; at most %d. Send a heartbeat.", a.AgentID, now-a.LastSeenMs, m.Policy.HeartbeatMaxAgeMs)
	case now < a.NextClaimAtMs:
		e := Refuse(CodeAgentMustWait, "Agent %s let %d tasks expire; it may claim again in %d ms.", a.AgentID, a.Strikes, a.NextClaimAtMs-now)
		e.RetryMs = a.NextClaimAtMs
		return e
	}
	return nil
}

// Claimable tells whether an agent could claim a task now, its active claims aside.
func (m Machine) Claimable(t Task, a Agent, now int64) bool {
	return t.Status == Funded && now < t.OpenUntilMs && m.ready(a, now) == nil && a.holds(t.ResourceRequirements)
}

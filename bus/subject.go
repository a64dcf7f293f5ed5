package bus

import (
	"strconv"
	"strings"
)

const root = "rtq"

// CheckID accepts the ids of robots and services: [a-z0-9][a-z0-9-]{0,62}.
func CheckID(id string) error {
	ok := len(id) >= 1 && len(id) <= 63 && id[0] != '-'
	for i := 0; ok && i < len(id); i++ {
		c := id[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
	}
	if !ok {
		return &Error{Code: CodeID, Op: "check id", Detail: strconv.Quote(id) + " is not [a-z0-9][a-z0-9-]{0,62}"}
	}
	return nil
}

func subject(kind string, ids ...string) (string, error) {
	for _, id := range ids {
		if err := CheckID(id); err != nil {
			return "", err
		}
	}
	return root + "." + kind + "." + strings.Join(ids, "."), nil
}

// SubjectReport is where a robot publishes its reports.
func SubjectReport(digger, robot string) (string, error) { return subject("report", digger, robot) }

// SubjectReports matches the reports of all robots of a digger.
func SubjectReports(digger string) (string, error) {
	s, err := subject("report", digger)
	return s + ".*", err
}

// SubjectAsk is where a service is asked a question by another process of its reserve; only its
// answer tells that it was heard.
func SubjectAsk(service string) (string, error) { return subject("ask", service) }

// SubjectBatch is where a digger publishes its batch messages.
func SubjectBatch(digger string) (string, error) { return subject("batch", digger) }

// SubjectPour is where a refinery publishes its pour messages.
func SubjectPour(refinery string) (string, error) { return subject("pour", refinery) }

// SubjectCertificate is where the mint publishes its run messages.
func SubjectCertificate(mint string) (string, error) { return subject("certificate", mint) }

// SubjectContract is where an event of contract number n is published.
func SubjectContract(number uint64, event string) (string, error) {
	if number == 0 {
		return "", &Error{Code: CodeSubject, Op: "subject", Detail: "contracts are numbered from 1"}
	}
	return subject("contract", strconv.FormatUint(number, 10), event)
}

// SubjectContracts matches every event of every contract.
func SubjectContracts() string { return root + ".contract.>" }

// SubjectRobot is where an event of a robot's enrolment is published.
func SubjectRobot(robot, event string) (string, error) { return subject("robot", robot, event) }

// SubjectRobots matches every event of every robot.
func SubjectRobots() string { return root + ".robot.>" }

// SubjectVault is where an event of the vault is published.
func SubjectVault(event string) (string, error) { return subject("vault", event) }

// SubjectVaults matches every event of the vault.
func SubjectVaults() string { return root + ".vault.>" }

// SubjectAck is where a consumer tells a producer its mark.
func SubjectAck(consumer, producer string) (string, error) {
	return subject("ack", consumer, producer)
}

// SubjectAcks matches the marks of all consumers of a producer.
func SubjectAcks(producer string) (string, error) {
	if err := CheckID(producer); err != nil {
		return "", err
	}
	return root + ".ack.*." + producer, nil
}

// streamSubjects are those that JetStream carries; reports and acks go directly.
var streamSubjects = [...]string{"batch", "pour", "certificate", "contract", "robot", "vault"}

// CheckSubject accepts the subjects that an outbox may use: literal, of a kind that JetStream carries.
func CheckSubject(s string) error {
	parts := strings.Split(s, ".")
	ok := len(parts) >= 3 && len(s) <= 255 && parts[0] == root
	for i := 2; ok && i < len(parts); i++ {
		ok = CheckID(parts[i]) == nil
	}
	for _, kind := range streamSubjects {
		if ok && parts[1] == kind {
			return nil
		}
	}
	return &Error{Code: CodeSubject, Op: "check subject", Detail: strconv.Quote(s)}
}

// SubjectAnswers matches everything that a digger tells its robots.
func SubjectAnswers(digger string) (string, error) {
	if err := CheckID(digger); err != nil {
		return "", err
	}
	return root + ".ack." + digger + ".*", nil
}

// ackOf returns the consumer of an ack's subject.
func ackOf(s string) (consumer, producer string, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 4 || parts[0] != root || parts[1] != "ack" {
		return "", "", false
	}
	return parts[2], parts[3], true
}

package robot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"robotorq.org/reserve/seal"
)

// KeyFile and SpoolFile are the names of a robot's files in its directory.
const (
	KeyFile   = "keys.json"
	SpoolFile = "spool.db"
)

// Request is what `robot enrol` prints and a registrar admits: all of an
// enrolment that the robot's owner can say. It holds no secret.
type Request struct {
	Robot           string     `json:"robot"`
	Owner           string     `json:"owner"`
	Model           string     `json:"model"`
	Watts           uint64     `json:"watts"`
	TokensPerSecond uint64     `json:"tokens_per_second"`
	Energy          string     `json:"energy"` // Metered or Rated
	Keys            []seal.Key `json:"keys"`

	// Of a renewal alone. Version is that of the enrolment that is asked for. Lost: the
	// robot has no spool, or another branch of its chain, and goes on after the digger's
	// last report. Waiting is how many reports of its spool the digger does not have.
	Version uint64 `json:"version,omitempty"`
	Lost    bool   `json:"lost,omitempty"`
	Waiting uint64 `json:"waiting,omitempty"`
	Digger  string `json:"digger,omitempty"` // another than now
	Retire  bool   `json:"retire,omitempty"` // all keys end
}

// Enrol makes the robot's keys in dir (mode 0700), where they stay, and
// returns the request with their public halves filled in; they are to be valid
// from notBeforeMS on. If dir holds the robot's keys already they are used
// again, so that a request can be printed twice. passphrase encrypts the key
// file, "" leaves it open.
func Enrol(dir, passphrase string, r Request, notBeforeMS uint64) (Request, error) {
	if err := r.check(); err != nil {
		return Request{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Request{}, &Error{Code: CodeEnrolment, Detail: "the robot's directory cannot be made", Err: err}
	}
	signer, err := keysIn(filepath.Join(dir, KeyFile), passphrase, r.Robot)
	if err != nil {
		return Request{}, err
	}
	r.Keys = signer.PublicKeys(notBeforeMS)
	return r, nil
}

// keysIn reads a robot's keys, or makes them.
func keysIn(path, passphrase, robot string) (*seal.Signer, error) {
	signer, err := seal.ReadKeyFile(path, passphrase)
	if errors.Is(err, fs.ErrNotExist) {
		if signer, err = seal.NewSigner(robot, seal.RoleRobot); err == nil {
			err = seal.WriteKeyFile(path, passphrase, signer)
		}
	}
	if err != nil {
		return nil, err
	}
	if signer.Name != robot || signer.Role != seal.RoleRobot {
		return nil, &Error{Code: CodeEnrolment, Detail: path + " holds the keys of " + signer.Role + " " + signer.Name + ", not of robot " + robot, Hint: "give each robot a directory of its own"}
	}
	return signer, nil
}

// Encode is the request as indented JSON, for people and programs.
func (r Request) Encode() ([]byte, error) { return json.MarshalIndent(r, "", "  ") }

// Rating is the rating asked for.
func (r Request) Rating() Rating {
	return Rating{Watts: r.Watts, TokensPerSecond: r.TokensPerSecond, Energy: r.Energy}
}

// maxModel is the longest model name in bytes.
const maxModel = 128

func (r Request) check() error {
	switch {
	case !seal.ValidID(r.Robot):
		return faultf(CodeEnrolment, "%q is not a robot's id; it is 1 to 63 of a-z, 0-9 and '-', not beginning with '-'", r.Robot)
	case !seal.ValidID(r.Owner):
		return &Error{
			Code: CodeEnrolment, Detail: fmt.Sprintf("%q is not the id of an owner; it is 1 to 63 of a-z, 0-9 and '-', not beginning with '-'", r.Owner),
			Hint: "name the organisation that owns the robot by the id under which it is enrolled, such as printer-guild",
		}
	case len(r.Model) > maxModel:
		return faultf(CodeEnrolment, "the model's name is longer than %d bytes", maxModel)
	}
	return r.Rating().Check()
}

package robot_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"robotorq.org/reserve/robot"
	"robotorq.org/reserve/seal"
)

func TestEnrolMakesKeysThatStayAndARequestWithoutSecrets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "robots", "arm-1")
	asked := robot.Request{Robot: "arm-1", Owner: "ada", Model: "Arm 5", Watts: 2000, TokensPerSecond: 10, Energy: robot.Metered}
	request, err := robot.Enrol(dir, "", asked, 5)
	if err != nil {
		t.Fatal(err)
	}
	if len(request.Keys) != 2 || request.Keys[0].Name != "arm-1" || request.Keys[0].Role != seal.RoleRobot || request.Keys[0].NotBeforeMS != 5 {
		t.Fatalf("keys %+v", request.Keys)
	}
	info, err := os.Stat(filepath.Join(dir, robot.KeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v, %v", info, err)
	}
	again, err := robot.Enrol(dir, "", asked, 5)
	if err != nil || !reflect.DeepEqual(again, request) {
		t.Fatalf("a second request differs: %v", err)
	}
	encoded, err := request.Encode()
	if err != nil || bytes.Contains(encoded, []byte("private")) {
		t.Fatalf("%s, %v", encoded, err)
	}
	if _, err := robot.Enrol(dir, "", robot.Request{Robot: "arm-2", Owner: "ada", Watts: 1, TokensPerSecond: 1, Energy: robot.Rated}, 5); err == nil {
		t.Fatal("arm-2 may use the keys of arm-1")
	}
}

func TestARequestThatNoRegistrarCouldAdmitIsNotMade(t *testing.T) {
	good := robot.Request{Robot: "arm-1", Owner: "ada", Watts: 2000, TokensPerSecond: 10, Energy: robot.Metered}
	for name, change := range map[string]func(*robot.Request){
		"id":                  func(r *robot.Request) { r.Robot = "Arm 1" },
		"owner":               func(r *robot.Request) { r.Owner = "" },
		"owner with a space":  func(r *robot.Request) { r.Owner = "Printer Guild" },
		"owner as an account": func(r *robot.Request) { r.Owner = "org:guild" },
		"watts":               func(r *robot.Request) { r.Watts = 0 },
		"tokens":              func(r *robot.Request) { r.TokensPerSecond = 1 << 40 },
		"energy":              func(r *robot.Request) { r.Energy = "guessed" },
	} {
		request := good
		change(&request)
		dir := filepath.Join(t.TempDir(), "r")
		if _, err := robot.Enrol(dir, "", request, 0); err == nil {
			t.Errorf("%s: a request was made", name)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s: files were left behind", name)
		}
	}
}

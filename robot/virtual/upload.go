package virtual

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxUpload bounds a job file; Moonraker's default is 1 GiB.
const maxUpload = 1 << 30

// ends is how much of both ends of a file is looked at for its printing time.
const ends = 32 << 10

// upload is POST /server/files/upload. The file itself is not kept: a virtual
// printer needs its name, size and printing time.
func (p *Printer) upload(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxUpload)
	parts, err := r.MultipartReader()
	if err != nil {
		refuse(w, badRequest("multipart/form-data expected"))
		return
	}
	form := map[string]string{"root": "gcodes"}
	var name, sum string
	var received file
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			refuse(w, badRequest("upload ended early"))
			return
		}
		if part.FormName() == "file" {
			name = part.FileName()
			received, sum, err = p.take(part)
		} else {
			var content []byte
			content, err = io.ReadAll(io.LimitReader(part, 4<<10))
			form[part.FormName()] = string(content)
		}
		if err != nil {
			refuse(w, badRequest("upload ended early"))
			return
		}
	}
	name, err = p.keep(name, form, received, sum)
	if err != nil {
		refuse(w, err)
		return
	}
	started := form["print"] == "true" && p.start(name) == nil
	w.Header().Set("Location", p.url+"/server/files/gcodes/"+name)
	respond(w, http.StatusCreated, map[string]any{
		"item":          map[string]any{"path": name, "root": "gcodes", "modified": unixSeconds(received.modified), "size": received.size, "permissions": "rw"},
		"print_started": started, "print_queued": false, "action": "create_file",
	})
}

// take reads an uploaded file through.
func (p *Printer) take(content io.Reader) (file, string, error) {
	digest := sha256.New()
	var head, tail []byte
	var size int64
	buffer := make([]byte, 16<<10)
	for {
		n, err := content.Read(buffer)
		digest.Write(buffer[:n])
		size += int64(n)
		if len(head) < ends {
			head = append(head, buffer[:n]...)
		} else if tail = append(tail, buffer[:n]...); len(tail) > 2*ends {
			tail = append(tail[:0], tail[len(tail)-ends:]...)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return file{}, "", err
		}
	}
	length := printingTime(append(head, tail...))
	if length <= 0 {
		length = p.config.Job
	}
	return file{size: size, modified: p.config.Clock.Now(), length: length}, hex.EncodeToString(digest.Sum(nil)), nil
}

// keep enters a file under its name, once its form is right.
func (p *Printer) keep(name string, form map[string]string, received file, sum string) (string, error) {
	switch {
	case name == "":
		return "", badRequest("No file name specified in upload form")
	case form["root"] != "gcodes":
		return "", badRequest("Invalid root request: " + form["root"])
	case form["checksum"] != "" && !strings.EqualFold(form["checksum"], sum):
		return "", &fault{status: http.StatusUnprocessableEntity, message: "File checksum mismatch: expected " + form["checksum"] + ", calculated " + sum}
	}
	name = path.Clean("/" + form["path"] + "/" + name)[1:]
	switch strings.ToLower(path.Ext(name)) {
	case ".gcode", ".g", ".gco", ".nc", ".ufp", ".3mf":
	default:
		return "", badRequest("not a job file: " + name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.machine.busy() && p.machine.file == name {
		return "", &fault{status: http.StatusForbidden, message: "File is loaded, upload not permitted"}
	}
	p.files[name] = received
	return name, nil
}

// printingTime finds the printing time that a slicer wrote into a job file:
// ";TIME:1234" (Cura) or "; estimated printing time (normal mode) = 1h 2m 3s"
// (PrusaSlicer, OrcaSlicer and their kin). 0 when there is none.
func printingTime(content []byte) time.Duration {
	if at := bytes.Index(content, []byte(";TIME:")); at >= 0 {
		digits := content[at+len(";TIME:"):]
		end := 0
		for end < len(digits) && end < 9 && digits[end] >= '0' && digits[end] <= '9' {
			end++
		}
		if n, err := strconv.Atoi(string(digits[:end])); err == nil {
			return time.Duration(n) * time.Second
		}
	}
	line := regexp.MustCompile(`estimated printing time[^=\n]*= *([0-9dhms ]+)`).FindSubmatch(content)
	if line == nil {
		return 0
	}
	var total time.Duration
	for _, word := range strings.Fields(string(line[1])) {
		n, err := strconv.Atoi(word[:len(word)-1])
		if err != nil || n > 100_000 {
			continue
		}
		unit := map[byte]time.Duration{'d': 24 * time.Hour, 'h': time.Hour, 'm': time.Minute, 's': time.Second}[word[len(word)-1]]
		total += time.Duration(n) * unit
	}
	return total
}

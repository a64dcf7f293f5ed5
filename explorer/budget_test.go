package explorer_test

import (
	"testing"
	"time"
)

func TestX(t *testing.T) {
	at := time.Now()
	w := newCity(t)
	t.Log(time.Since(at))
	_ = w
}

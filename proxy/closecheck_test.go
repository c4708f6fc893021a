package proxy

import (
	"strings"
	"testing"
)

func TestCheckClose(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		code   CloseCode
		reason string
		good   bool
	}{
		{CloseNormal, "", true},
		{1003, "", true},
		{1007, "", true},
		{1014, "", false},
		{3000, "", true},
		{4999, strings.Repeat("a", 123), true},
		{4000, "ä", true},
		{CloseNone, "", false},
		{999, "", false},
		{1004, "", false},
		{1005, "", false},
		{1006, "", false},
		{1010, "", false}, // of clients alone, RFC 6455 section 7.4.1
		{1015, "", false},
		{2999, "", false},
		{5000, "", false},
		{65535, "", false},
		{4000, strings.Repeat("a", 124), false},
		{4000, strings.Repeat("ä", 62), false},
		{4000, "\xff", false},
	} {
		if err := CheckClose(tt.code, tt.reason); (err == nil) != tt.good {
			t.Errorf("CheckClose(%d, %.10q) = %v", tt.code, tt.reason, err)
		}
	}
}

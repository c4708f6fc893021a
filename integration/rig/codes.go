package rig

// Close codes that the tests expect by number, so that a wrong constant in the
// product cannot make them pass.
const (
	CloseGoingAway    = 1001
	CloseProtocol     = 1002
	CloseNotUTF8      = 1007
	ClosePolicy       = 1008
	CloseTooBig       = 1009
	CloseInternal     = 1011 // what a second try does not mend
	CloseTryAgain     = 1013
	CloseUnauthorized = 3000
	CloseForbidden    = 3003
	CloseTimeout      = 3008
)

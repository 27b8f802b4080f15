package thingspeaktest

import "net/http"

// refusal is why something was not done: in the emulator's words, and as REST tells it.
type refusal struct {
	status int
	// code is ThingSpeak's own word for the status.
	code string
	// zero refusals answer 0 and nothing else.
	zero bool
	why  string
}

func (r *refusal) Error() string { return r.why }

// codes are the words of ThingSpeak's page on error codes.
var codes = map[int]string{
	http.StatusBadRequest:            "error_bad_request",
	http.StatusUnauthorized:          "error_auth_required",
	http.StatusPaymentRequired:       "error_payment_required",
	http.StatusNotFound:              "error_resource_not_found",
	http.StatusMethodNotAllowed:      "error_method_invalid",
	http.StatusRequestEntityTooLarge: "error_request_too_large",
	http.StatusUnprocessableEntity:   "error_invalid_byte_sequence",
	http.StatusTooManyRequests:       "error_too_many_requests",
}

func refuse(status int, why string) *refusal {
	return &refusal{status: status, code: codes[status], why: why}
}

// tooSoon is how a write that comes too early is answered.
func (s *settings) tooSoon(why string) *refusal {
	if s.soon429 {
		return refuse(http.StatusTooManyRequests, why)
	}
	return &refusal{status: http.StatusOK, zero: true, why: why}
}

// badKey is how a write with a key that is none is answered.
func (s *settings) badKey() *refusal {
	const why = "no channel has this write key"
	if s.key401 {
		return refuse(http.StatusUnauthorized, why)
	}
	return &refusal{status: http.StatusBadRequest, zero: true, why: why}
}

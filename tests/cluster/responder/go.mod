module tidegate/responder

go 1.25

module postern/contrib/bench

go 1.26.0

# needs: freeradius radclient
# port: udp6 1812
# context
server() {
	PATH=$PATH:/usr/sbin
	cat >radiusd.conf <<-EOT
	logdir = $PWD
	raddbdir = $PWD
	run_dir = $PWD
	security {
	  allow_vulnerable_openssl = yes
	}
	thread pool {
	  start_servers = 3
	}
	modules {
	  pap {
	  }
	  always ok {
	    rcode = ok
	  }
	}
	client lab {
	  ipv6addr = ::/0
	  secret = testing123
	}
	server default {
	  listen {
	    type = auth
	    ipv6addr = ::
	    port = 1812
	  }
	  listen {
	    type = acct
	    ipv6addr = ::
	    port = 1813
	  }
	  authorize {
	    if (User-Name == "bob") {
	      update control {
	        Cleartext-Password := "hello"
	      }
	    }
	    pap
	  }
	  authenticate {
	    Auth-Type PAP {
	      pap
	    }
	  }
	  preacct {
	    ok
	  }
	  accounting {
	    ok
	  }
	}
	EOT
	exec freeradius -f -l stdout -d "$PWD" -n radiusd
}
client() {
	ask() {
		radclient -6 -r 3 -t 3 "[$SERVER]:$1" "$2" testing123 2>&1 | sed -E 's/Id [0-9]+.*length/length/; /Message-Auth/d'
	}
	echo 'User-Name=bob,User-Password=hello' | ask 1812 auth
	echo 'User-Name=bob,User-Password=wrong' | ask 1812 auth
	echo 'User-Name=bob,Acct-Status-Type=Start,Acct-Session-Id=1' | ask 1813 acct
	for i in $(seq 200); do printf 'User-Name=bob,User-Password=hello\n\n'; done >many
	radclient -6 -q -s -r 3 -t 3 -p 20 -f many "[$SERVER]:1812" auth testing123 2>&1 | grep :
}

# needs: ffmpeg gst-launch-1.0
# context
# limit: 60
# Media by UDP and RTP, from the one host to the other: threads that receive, and ports in pairs.
server() {
	ffmpeg -v error -y -analyzeduration 300000 -probesize 32000 -i "udp://[::]:5004?localaddr=::&fifo_size=10000" -t 2 -f framemd5 "$PWD/udp" &
	gst-launch-1.0 -q udpsrc address=:: port=5008 timeout=15000000000 ! application/x-rtp,media=audio,clock-rate=44100,encoding-name=L16,channels=1 ! rtpjitterbuffer ! rtpL16depay ! filesink location="$PWD/rtp" &
	wait
}
client() {
	sleep 2
	ffmpeg -v error -re -f lavfi -i testsrc=size=160x120:rate=10 -t 4 -c:v mpeg2video -f mpegts "udp://[$SERVER]:5004?pkt_size=1316" 2>&1
	echo "ffmpeg $?"
	gst-launch-1.0 -q audiotestsrc num-buffers=100 is-live=true ! audio/x-raw,format=S16BE,rate=44100,channels=1 ! rtpL16pay ! udpsink host="$SERVER" port=5008 2>&1
	echo "gstreamer $?"
	sleep 1
	[ "$(stat -c %s ../server.d/rtp)" -gt 180000 ] && echo "rtp: all" || stat -c %s ../server.d/rtp
	[ "$(grep -vc '^#' ../server.d/udp)" -ge 15 ] && echo "udp: most" || grep -vc '^#' ../server.d/udp
}

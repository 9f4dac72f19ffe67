# Net::Stomp against the broker: perl net_stomp.pl HOST PORT. Says "ok" and the name of each part that is done.
#
# It offers no version unless it is told to, so it speaks 1.0; it acknowledges by message-id alone, whatever it speaks.
use strict;
use warnings;
use Net::Stomp;

my ( $host, $port ) = @ARGV;
my $wait = 15;
$| = 1;

sub connected {
    my (%headers) = @_;
    my $client = Net::Stomp->new( { hostname => $host, port => $port, timeout => $wait } );
    my $welcome = $client->connect( { login => 'somebody', passcode => 'pass:word', %headers } );
    die 'no CONNECTED' unless $welcome && $welcome->command eq 'CONNECTED';
    is( $welcome->headers->{version}, $headers{'accept-version'} // '1.0', 'version' );
    die 'no session' unless $client->session_id;
    return $client;
}

sub is {
    my ( $got, $expected, $what ) = @_;
    $got //= 'nothing';
    die "$what: '$got' instead of '$expected'" unless $got eq $expected;
}

sub take {
    my ($client) = @_;
    my $frame = $client->receive_frame or die 'nothing came';
    die $frame->as_string unless $frame->command eq 'MESSAGE';
    return $frame;
}

my @parts = (
    connecting => sub {
        connected()->disconnect;
        connected( 'accept-version' => '1.1', host => 'somewhere' )->disconnect;
        connected( 'accept-version' => '1.2', host => 'somewhere' )->disconnect;
    },
    sending => sub {
        my ( $sender, $consumer ) = ( connected(), connected() );
        $consumer->subscribe( { destination => '/queue/sending' } );
        my $binary = join '', map { chr } 0 .. 255;
        $sender->send_with_receipt( { destination => '/queue/sending', body => 'receipt', colons => 'a:b:c' } )
            or die 'no receipt';
        $sender->send_with_receipt( { destination => '/queue/sending', body => $binary, bytes_message => 1 } )
            or die 'no receipt';
        my $frame = take($consumer);
        is( $frame->body, 'receipt', 'body' );
        is( $frame->headers->{colons}, 'a:b:c', 'colons' );
        is( $frame->destination, '/queue/sending', 'destination' );
        is( take($consumer)->body, $binary, 'binary body' );
        $consumer->unsubscribe( { destination => '/queue/sending' } );
        $_->disconnect for $sender, $consumer;
    },
    transactions => sub {
        for my $version ( {}, { 'accept-version' => '1.2', host => 'somewhere' } ) {
            my ( $sender, $consumer ) = ( connected(%$version), connected(%$version) );
            $consumer->subscribe( { destination => '/queue/transactions', id => 'consumer' } );
            # It waits for the receipt of SEND before it sends COMMIT.
            $sender->send_transactional( { destination => '/queue/transactions', body => $_ } ) or die 'no receipt'
                for 1 .. 3;
            is( take($consumer)->body, $_, 'body' ) for 1 .. 3;
            # Nobody commits what was refused.
            my $answer;
            die 'sent to a wildcard' if $sender->send_transactional( { destination => '/topic/#', body => 'x' }, $answer );
            is( $answer->command, 'ERROR', 'answer' );
            $consumer->disconnect;
        }
    },
    acknowledging => sub {
        my $sender = connected();
        for my $version ( [], [ 'accept-version' => '1.1' ], [ 'accept-version' => '1.2' ] ) {
            my $consumer = connected(@$version);
            my %subscribe = ( destination => '/queue/acknowledging', id => 'consumer', ack => 'client' );
            $consumer->subscribe( {%subscribe} );
            $sender->send_with_receipt( { destination => '/queue/acknowledging', body => $_ } ) for 1 .. 4;
            my @frames = map { take($consumer) } 1 .. 4;
            is( $frames[$_]->body, $_ + 1, 'body' ) for 0 .. 3;
            # The second and the one before it.
            $consumer->ack( { frame => $frames[1], receipt => 'acknowledged' } );
            is( $consumer->receive_frame->headers->{'receipt-id'}, 'acknowledged', 'receipt of ACK' );
            $consumer->disconnect;
            $consumer = connected(@$version);
            $consumer->subscribe( {%subscribe} );
            @frames = map { take($consumer) } 3 .. 4;
            is( $frames[0]->body . $frames[1]->body, '34', 'what came again' );
            is( $frames[0]->headers->{redelivered}, 'true', 'redelivered' );
            $consumer->ack( { frame => $frames[1], receipt => 'acknowledged' } );
            is( $consumer->receive_frame->headers->{'receipt-id'}, 'acknowledged', 'receipt of ACK' );
            $consumer->disconnect;
        }
        $sender->disconnect;
    },
    reconnecting => sub {
        my ( $sender, $consumer ) = ( connected(), connected() );
        $consumer->subscribe( { destination => '/topic/reconnecting', receipt => 'subscribed' } );
        $consumer->receive_frame;
        # Lost: it gives nothing when it notices, and connects and subscribes again when it is asked for the next frame.
        shutdown $consumer->socket, 2;
        my $frame = $consumer->receive_frame // $consumer->receive_frame;
        is( $frame->headers->{'receipt-id'}, 'subscribed', 'receipt of SUBSCRIBE' );
        $sender->send( { destination => '/topic/reconnecting', body => 'again' } );
        is( take($consumer)->body, 'again', 'body' );
        $_->disconnect for $sender, $consumer;
    },
);

while ( my ( $name, $part ) = splice @parts, 0, 2 ) {
    $part->();
    print "ok $name\n";
}

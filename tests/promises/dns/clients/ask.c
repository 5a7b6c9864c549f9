/* Asks as any program does that was linked against musl: prints the first IPv4 address of a name. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct addrinfo hints, *found;
    char text[INET_ADDRSTRLEN];
    memset(&hints, 0, sizeof hints);
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    int error = argc == 2 ? getaddrinfo(argv[1], NULL, &hints, &found) : EAI_NONAME;
    if (error) {
        fprintf(stderr, "%s\n", gai_strerror(error));
        return 1;
    }
    struct sockaddr_in *address = (struct sockaddr_in *)found->ai_addr;
    puts(inet_ntop(AF_INET, &address->sin_addr, text, sizeof text));
    return 0;
}
